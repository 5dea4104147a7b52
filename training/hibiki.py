"""Train the model that receives French numbers and says them in English.

Run: `python -m training.hibiki --work DIR [--recipe NAME]`
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from torch import Tensor, nn
from torch.nn import functional

from training import french, loop, ranks, speaker, tokenizer
from training.codes import stream
from training.config import BINS, CODEBOOKS, FRAME_SIZE, LM, PHONES_PER_FRAME, TEXT_CARD, TEXT_PAD
from training.french import Pair
from training.hibiki_layout import DELAYS, EOS, IGNORED, PATIENCE, Row, Turn, finished, row
from training.lm import PHONE_LAG, embed_codes
from training.lm import corrupt as corrupt_heard
from training.tts import CODE_WEIGHTS, DEPTH
from training.tts import corrupt as corrupt_said

FRAMES = 80
ROWS = 8
PAD_WEIGHT = 0.3
PHONE_WEIGHT = 0.3
QUIET = 0.1
VALIDATION = 48


@dataclass(frozen=True)
class Recipe:
    """One way to train it: see docs/demo.md for what each gave. `stt` and `tts` name the
    training whose weights the source side and the depth transformer start from."""

    steps: int
    stt: str | None = None
    tts: str | None = None
    phones: float = PHONE_WEIGHT


RECIPES = {
    "stt": Recipe(400, stt="lm"),
    "both": Recipe(1_200, stt="lm", tts="tts-natural"),
}
PATH = ("both",)


def plan(name: str) -> loop.Plan:
    return loop.Plan(f"hibiki-{name}", RECIPES[name].steps, rate=2e-3, decay=0.03, seed=500)


def config() -> dict:
    """Arguments of Moshi's language model."""
    return LM | DEPTH | {"n_q": 2 * CODEBOOKS, "delays": DELAYS, "text_card_out": None}


class Interpreter(nn.Module):
    """The language model, and the head that makes it predict the phonemes while it learns."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.lm = loaders.get_moshi_lm(None, config(), dtype=torch.float32)
        self.phones = nn.Linear(LM["dim"], PHONES_PER_FRAME * phones)


class HibikiTask:
    """Numbers heard and answered, their codes corrupted."""

    def __init__(self, work: Path, name: str) -> None:
        self.recipe, self.plan = RECIPES[name], plan(name)
        self.work, self.tokenizer = work, tokenizer.load(work)
        ids = json.loads((work / "phones.json").read_text())
        torch.manual_seed(self.plan.seed)
        self.model = Interpreter(len(ids) + 1)
        self.train = french.read(work, french.TRAIN)
        self.short = [pair for pair in self.train if pair.number < 100]
        self.unheard = french.read(work, ["french-validation"])
        quiet = np.zeros((1, 2 * FRAMES * FRAME_SIZE), np.float32)
        self.silence = stream(speaker.codec(work), quiet)[0].astype(np.int64)
        self.weights = torch.ones(TEXT_CARD)
        self.weights[TEXT_PAD] = PAD_WEIGHT

    def begin(self) -> None:
        lm = self.model.lm
        codec = speaker.codec(self.work)
        embed_codes(lm, codec)
        with torch.no_grad():
            for said, heard in zip(lm.emb[:CODEBOOKS], lm.emb[CODEBOOKS:], strict=True):
                heard.weight.copy_(said.weight)
        if self.recipe.stt:
            take_stt(self.model, self.work / f"{self.recipe.stt}.pt")
        if self.recipe.tts:
            take_tts(lm, self.work / f"{self.recipe.tts}.pt")

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        self.model.train()
        batch = self.batch([self.draw(rng) for _ in range(ROWS)])
        losses = self.score(batch, corrupted(batch))
        fading = self.recipe.phones * (1 - step / self.plan.steps)
        losses["loss"] = losses["said"] + losses["text"] + fading * losses["phones"]
        return losses

    def draw(self, rng: np.random.Generator) -> Row:
        """One number, or two small ones with a pause, in some silence."""
        turns = [Turn(self.pick(self.train, rng), int(rng.integers(0, 8)))]
        if turns[0].pair.number < 100 and rng.random() < 0.6:
            after = finished(turns[0], 2 * FRAMES) + int(rng.integers(0, 8))
            turns.append(Turn(self.pick(self.short, rng), after))
        quiet = 0 if rng.random() < 0.3 else int(rng.integers(0, 2 * PATIENCE))
        if rng.random() < 0.2:
            quiet += int(rng.integers(0, 25))
        return self.row(turns, turns[-1].heard + quiet)

    def pick(self, pairs: list[Pair], rng: np.random.Generator) -> Pair:
        return pairs[int(rng.integers(len(pairs)))]

    def row(self, turns: list[Turn], end: int) -> Row:
        return row(turns, end, FRAMES, self.silence, self.tokenizer)

    def batch(self, rows: list[Row]) -> dict[str, Tensor]:
        names = ("text", "said", "heard", "phones", "speaking")
        return {n: torch.from_numpy(np.stack([getattr(r, n) for r in rows])) for n in names}

    def score(self, batch: dict[str, Tensor], fed: Tensor) -> dict[str, Tensor]:
        lm, text = self.model.lm, batch["text"]
        said = late(batch["said"], DELAYS[1 : 1 + CODEBOOKS])
        chosen = batch["speaking"] | ((torch.rand(text.shape) < QUIET) & (text != IGNORED))
        with torch.autocast("cpu", torch.bfloat16):
            hidden, logits = lm.forward_text(fed)
            phones = self.model.phones(hidden[:, PHONE_LAG:])
            rows = torch.cat([text[:, None], said, batch["heard"]], 1)
            rows = rows.transpose(1, 2)[chosen].T[None]
            spoken = lm.forward_depformer_training(rows.clamp(min=-1), hidden[chosen][None])[0]
        target = rows[0, 1 : 1 + CODEBOOKS]
        target = torch.where((target < 0) | (target == BINS), IGNORED, target)
        each = torch.stack(
            [functional.cross_entropy(s.float(), t) for s, t in zip(spoken, target, strict=True)]
        )
        logits = logits[:, 0].float().transpose(1, 2)
        phones = phones.float().unflatten(2, (PHONES_PER_FRAME, -1)).flatten(0, 2)
        words = (text > TEXT_PAD) | (text == EOS) | (text == 0)
        return {
            "said": (each * CODE_WEIGHTS).sum(),
            "text": functional.cross_entropy(logits, text, weight=self.weights),
            "phones": functional.cross_entropy(phones, batch["phones"][:, :-PHONE_LAG].flatten()),
            "first": each[0],
            "first_right": (spoken[0].argmax(1) == target[0])[target[0] >= 0].float().mean(),
            "words_right": (logits.argmax(1) == text)[words].float().mean(),
            "pieces_right": (logits.argmax(1) == text)[text > TEXT_PAD].float().mean(),
        }

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """On numbers that are never trained on."""
        if step % 200:
            return {}
        self.model.eval()
        torch.manual_seed(0)
        rows = [
            self.row([Turn(p, 3)], 3 + p.end + i % 8)
            for i, p in enumerate(self.unheard[:VALIDATION])
        ]
        batch = self.batch(rows)
        scores = self.score(batch, inputs(batch))
        return {f"unheard_{name}": float(value) for name, value in scores.items()}


def late(codes: Tensor, delays: list[int]) -> Tensor:
    """[batch, books, frames], each codebook as many frames later, with initial tokens before."""
    rows = [
        functional.pad(codes[:, k, : codes.shape[2] - d], (d, 0), value=BINS)
        for k, d in enumerate(delays)
    ]
    return torch.stack(rows, 1)


def inputs(batch: dict[str, Tensor]) -> Tensor:
    """[batch, 17, frames]: initial tokens, then what the step before wrote, said and heard. The
    model reads an end of its text as padding, as Kyutai's loader makes it."""
    text = batch["text"].clone()
    text[(text == EOS) | (text == IGNORED)] = TEXT_PAD
    text = functional.pad(text[:, None, :-1], (1, 0), value=TEXT_CARD)
    codes = torch.cat([batch["said"], batch["heard"]], 1)
    return torch.cat([text, late(codes, [d + 1 for d in DELAYS[1:]])], 1)


def corrupted(batch: dict[str, Tensor]) -> Tensor:
    """Inputs in which text and codes are sometimes wrong; the end of the input never is."""
    clean = inputs(batch)
    own, heard = clean[:, : 1 + CODEBOOKS], clean[:, 1 + CODEBOOKS :]
    wrong = corrupt_heard(torch.cat([own[:, :1], heard], 1))
    heard = torch.where(heard == BINS, heard, wrong[:, 1:])
    initial = own[:, 1:] == BINS
    said = torch.where(initial, own[:, 1:], corrupt_said(own[:, 1:], 0.1, 0.05))
    return torch.cat([wrong[:, :1], said, heard], 1)


@torch.no_grad()
def take_stt(model: Interpreter, save: Path) -> None:
    """Start to read audio as the speech-to-text model does."""
    state = torch.load(save, mmap=True)["model"]
    parts = ("lm.transformer.", "lm.out_norm.", "lm.text_emb.", "lm.text_linear.", "phones.")
    taken = {n: t for n, t in state.items() if n.startswith(parts)}
    for k in range(CODEBOOKS):
        taken[f"lm.emb.{CODEBOOKS + k}.weight"] = state[f"lm.emb.{k}.weight"]
    model.load_state_dict(taken, strict=False)


@torch.no_grad()
def take_tts(lm: LMModel, save: Path) -> None:
    """Start speaking as the text-to-speech model does."""
    state = torch.load(save, mmap=True)["model"]
    own = ("depformer", "linears.", *[f"emb.{k}." for k in range(CODEBOOKS)])
    lm.load_state_dict({n: t for n, t in state.items() if n.startswith(own)}, strict=False)


def train(work: Path, name: str) -> None:
    loop.train(HibikiTask(work, name), plan(name), work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", choices=list(RECIPES), default=PATH[-1])
    options = parser.parse_args()
    ranks.run(train, options.work, options.recipe)
