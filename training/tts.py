"""Train the text-to-speech model on the codes of one voice.

Run: `python -m training.tts --work DIR [--recipe NAME]`
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from torch import Tensor
from torch.nn import functional

from training import loop, ranks, speaker, tokenizer
from training.config import BINS, CODEBOOKS, LM, TEXT_CARD
from training.lm import embed_codes
from training.speaker import Spoken
from training.tts_layout import IGNORED, Layout, Row, Script, row

DEPTH = {
    "dep_q": CODEBOOKS,
    "text_card_out": 5,
    "extra_heads_num_heads": 0,
    "depformer_dim": 96,
    "depformer_dim_feedforward": 288,
    "depformer_num_heads": 4,
    "depformer_num_layers": 2,
    "depformer_weights_per_step": True,
    "depformer_weights_per_step_schedule": [0, 1, 2, 2, 3, 3, 3, 3],
}
CODE_WEIGHTS = torch.tensor([4.0, 2.0, 1.5, 1.0, 1.0, 0.8, 0.7, 0.6])
CODE_WEIGHTS /= CODE_WEIGHTS.sum()
TEXT_WEIGHT = 0.3
LOST, LOST_FRAME = 0.10, 0.05
VALIDATION = 60


@dataclass(frozen=True)
class Recipe:
    """One way to train it: see docs/demo.md for what each gave."""

    layout: Layout
    steps: int
    on_frames: bool = True
    shards: int = 6
    lost: float = LOST
    lost_frame: float = LOST_FRAME
    depth_dim: int = 96


RECIPES = {
    "natural": Recipe(Layout(delay=4), 600, shards=2, on_frames=False),
    "frames": Recipe(Layout(delay=4), 1_500),
}
PATH = ("natural", "frames")


def plan(name: str) -> loop.Plan:
    return loop.Plan(f"tts-{name}", RECIPES[name].steps, rate=2e-3, decay=0.03, seed=400)


def config(recipe: Recipe) -> dict:
    """Arguments of Moshi's language model."""
    fields = {
        "delays": recipe.layout.delays,
        "demux_second_stream": recipe.layout.ahead > 0,
        "depformer_dim": recipe.depth_dim,
        "depformer_dim_feedforward": 3 * recipe.depth_dim,
    }
    return LM | DEPTH | fields


@dataclass(frozen=True)
class Shape:
    """Sequences of a batch, their steps, and how many sentences each may say."""

    rows: int
    frames: int
    sentences: int


SHAPES = (Shape(12, 56, 1), Shape(12, 56, 1), Shape(6, 112, 4))


class TTSTask:
    """Sentences of one voice, as the machine would have them said."""

    def __init__(self, work: Path, name: str) -> None:
        self.recipe, self.plan = RECIPES[name], plan(name)
        self.work, self.tokenizer = work, tokenizer.load(work)
        torch.manual_seed(self.plan.seed)
        self.model = loaders.get_moshi_lm(None, config(self.recipe), dtype=torch.float32)
        names = speaker.train_names(self.recipe.on_frames)[: self.recipe.shards]
        self.train = speaker.read(work, names)
        kind = "speech" if self.recipe.on_frames else "speech-natural"
        self.unheard = speaker.read(work, [f"{kind}-validation"])

    def begin(self) -> None:
        embed_codes(self.model, speaker.codec(self.work))

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        self.model.train()
        shape = SHAPES[step % len(SHAPES)]
        scripts = [draw_script(self.train, shape.sentences, rng) for _ in range(shape.rows)]
        batch = self.batch(scripts, shape.frames)
        lost, frame = self.recipe.lost, self.recipe.lost_frame
        return score(self.model, batch, corrupt(batch["codes"], lost, frame))

    def batch(self, scripts: list[Script], frames: int) -> dict[str, Tensor]:
        rows = [row(script, frames, self.recipe.layout, self.tokenizer) for script in scripts]
        return stack(rows)

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """On sentences that are never trained on."""
        if step % 200:
            return {}
        self.model.eval()
        scripts = [Script([spoken], [0]) for spoken in self.unheard[:VALIDATION]]
        batch = self.batch(scripts, 64)
        scores = score(self.model, batch, batch["codes"])
        return {f"unheard_{name}": float(value) for name, value in scores.items()}


def draw_script(spoken: list[Spoken], most: int, rng: np.random.Generator) -> Script:
    """Up to `most` sentences; a third of the joints are breaks of 0.2 to 1.2 s."""
    count = int(rng.integers(1, most + 1)) if most > 1 else 1
    chosen = [spoken[int(i)] for i in rng.integers(0, len(spoken), count)]
    breaks = [int(rng.integers(3, 16)) if rng.random() < 0.33 else 0 for _ in chosen]
    return Script(chosen, [0, *breaks[1:]])


def stack(rows: list[Row]) -> dict[str, Tensor]:
    return {
        "text": torch.from_numpy(np.stack([r.text for r in rows])),
        "asked": torch.from_numpy(np.stack([r.asked for r in rows])),
        "codes": torch.from_numpy(np.stack([r.codes for r in rows])),
    }


def inputs(text: Tensor, codes: Tensor, delays: list[int]) -> Tensor:
    """[batch, 9, frames]: initial tokens up to each row's delay, then what the step before had."""
    fed = torch.cat([text[:, None], codes.clamp(min=-1)], 1)
    shifted = functional.pad(fed[:, :, :-1], (1, 0))
    for k, late in enumerate(delays):
        shifted[:, k, : late + 1] = BINS if k else TEXT_CARD
    return shifted


def score(lm: LMModel, batch: dict[str, Tensor], heard: Tensor) -> dict[str, Tensor]:
    """Losses of a batch when the model hears the codes `heard` of its past."""
    text, codes = batch["text"], batch["codes"]
    with torch.autocast("cpu", torch.bfloat16):
        hidden, logits = lm.forward_text(inputs(text, heard, lm.delays))
        matters = (codes[:, 0] >= 0) | (codes[:, -1] >= 0)
        fed = torch.cat([text[:, None], codes], 1).transpose(1, 2)[matters].T[None]
        spoken = lm.forward_depformer_training(fed.clamp(min=-1), hidden[matters][None])[0]
    target = fed[0, 1:]
    target = torch.where(target < 0, IGNORED, target)
    each = torch.stack(
        [functional.cross_entropy(s.float(), t) for s, t in zip(spoken, target, strict=True)]
    )
    asked = functional.cross_entropy(logits[:, 0].float().flatten(0, 1), batch["asked"].flatten())
    right = spoken.argmax(2) == target
    return {
        "loss": (each * CODE_WEIGHTS).sum() + TEXT_WEIGHT * asked,
        "asked": asked,
        "first": each[0],
        "codes": each.mean(),
        "first_right": right[0][target[0] >= 0].float().mean(),
        "right": right[target >= 0].float().mean(),
    }


def corrupt(codes: Tensor, lost: float, frames: float) -> Tensor:
    """Replace some of the codes at random, one by one and whole frames: what the model will have
    said is not always right."""
    chance = torch.rand(codes.shape) < lost
    chance |= torch.rand(len(codes), 1, codes.shape[2]) < frames
    return torch.where(chance & (codes >= 0), torch.randint_like(codes, BINS), codes)


def train(work: Path, name: str) -> None:
    loop.train(TTSTask(work, name), plan(name), work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", choices=list(RECIPES), default=PATH[-1])
    options = parser.parse_args()
    ranks.run(train, options.work, options.recipe)
