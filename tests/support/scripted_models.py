"""A model that speaks by a script instead of weights, to see the rules around it at work.

Its codec says what a frame's first sample is, in hundredths, and buzzes as loud as its codes; the
text of step `t` is what the script says of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from kyutai_onnx.models import Hibiki, Moshi
from kyutai_onnx.runtime.bundle.manifest import (
    LanguageModel,
    PromptSettings,
    Sampling,
    StateSpec,
    Tokens,
)

Array = np.ndarray[Any, Any]
Script = Callable[[int, Array], int]
"""The text token of a step, by its number and the tokens `[1 + n_q]` that it reads."""

RATE, SIZE, CARD = 24000, 1920, 200
PIECES = ["<unk>", "<s>", "</s>", "<pad>", "▁one", "▁two", "s", "▁", "<0xC3>", "<0xA9>"]
BOUNDARY, START, END, PADDING, ONE, TWO, PLURAL, SPACE, FIRST_BYTE, SECOND_BYTE = range(10)
SPEC = LanguageModel(
    temporal="temporal",
    depth="depth",
    n_q=4,
    dep_q=2,
    card=CARD,
    text_card=len(PIECES),
    context=9,
    delays=(0, 0, 1, 0, 1),
    tokens=Tokens(len(PIECES), CARD, PADDING, BOUNDARY),
)

STEPS = StateSpec("steps", "int64", ("batch",))


class Spelling:
    """Stands for SentencePiece."""

    def get_piece_size(self) -> int:
        return len(PIECES)

    def id_to_piece(self, id: int) -> str:  # noqa: A002
        return PIECES[id]

    def is_byte(self, id: int) -> bool:  # noqa: A002
        return PIECES[id].startswith("<0x")

    def is_control(self, id: int) -> bool:  # noqa: A002
        return id in (START, END, PADDING)

    def eos_id(self) -> int:
        return END

    def encode(self, text: str) -> list[int]:
        return [PIECES.index(f"▁{word}") for word in text.split() if f"▁{word}" in PIECES]


class RowState:
    """Rows that count their steps, which are all that they remember."""

    def __init__(self, batch: int) -> None:
        self.batch = self.used = batch
        self.steps = np.zeros(batch, np.int64)

    def reset(self, rows: Sequence[int]) -> None:
        self.steps[list(rows)] = 0

    def save(self, row: int) -> dict[str, Array]:
        return {"steps": np.array(self.steps[row])}

    def load(self, row: int, saved: Mapping[str, Array]) -> None:
        self.steps[row] = saved["steps"]

    repeats = True

    def use_rows(self, rows: int) -> None:
        self.used = rows

    def active_range(self, active: Array) -> tuple[int, int]:
        return 0, len(active)

    def move(self, source: int, target: int) -> None:
        self.steps[target] = self.steps[source]


class Temporal(RowState):
    def __init__(self, batch: int, script: Script) -> None:
        super().__init__(batch)
        self._script = script

    def step(
        self, inputs: Mapping[str, Array], active: Array, keep: Collection[str]
    ) -> dict[str, Array]:
        logits = np.zeros((self.used, SPEC.text_card), np.float32)
        for row in np.flatnonzero(active):
            logits[row, self._script(int(self.steps[row]), inputs["tokens"][row])] = 1
        self.steps[: self.used] += active
        hidden = self.steps[: self.used, None].astype(np.float32)
        return {"text_logits": logits, "hidden": hidden}


class Depth(RowState):
    def step(self, inputs: Mapping[str, Array], active: Array) -> dict[str, Array]:
        steps = inputs["hidden"][:, 0].astype(np.int64)
        return {f"codes.{index}": (steps + index) % CARD for index in range(SPEC.dep_q)}


class Encoder(RowState):
    """Codes of a frame: its first sample in hundredths, and one more for each codebook."""

    def step(self, inputs: Mapping[str, Array], active: Array) -> dict[str, Array]:
        level = np.rint(100 * inputs["pcm"][:, 0, ::SIZE]).astype(np.int64)
        self.steps[: self.used] += active * level.shape[1]
        return {"codes": level[:, None] + np.arange(SPEC.n_q - SPEC.dep_q)[:, None]}


class Decoder(RowState):
    def step(self, inputs: Mapping[str, Array], active: Array) -> dict[str, Array]:
        self.steps[: self.used] += active
        loudness = inputs["codes"][:, :1, :] / np.float32(CARD)
        loud = np.repeat(loudness.astype(np.float32), SIZE, axis=2)
        return {"pcm": loud * np.resize(np.array([1, -1], np.float32), loud.shape[2])}


def scripted(family: type[Any], script: Script) -> Any:
    """A model of a family that follows a script, greedy."""
    made = family.__new__(family)
    manifest = SimpleNamespace(name="scripted", precision="fp32", family=family.family, prompt=None)
    made.sampling = Sampling(0.0, 0.0, 5, 5)
    made.bundle = SimpleNamespace(manifest=manifest, identity="x")
    made.sample_rate, made.frame_size, made.frame_rate = RATE, SIZE, 12.5
    made.tokenizer = Spelling()
    made.mimi = SimpleNamespace(
        cardinality=CARD,
        codebooks=SPEC.dep_q,
        frame_size=SIZE,
        open=lambda _direction: SimpleNamespace(max_frames=3, states=[STEPS]),
        encode=lambda pcm, codebooks: np.tile(np.arange(len(pcm) // SIZE), (codebooks, 1)),
        batch_state=lambda direction, rows: (Encoder if direction == "encode" else Decoder)(rows),
    )
    made.language_model = SimpleNamespace(
        spec=SPEC,
        exported_codebooks=SPEC.dep_q,
        candidates=5,
        is_conditioned=False,
        condition=dict,
        temporal=SimpleNamespace(spec=SimpleNamespace(states=[STEPS])),
        depth=SimpleNamespace(),
        split_text=lambda tokens: {"tokens": tokens},
        temporal_state=lambda batch: Temporal(batch, script),
        depth_state=Depth,
    )
    return made


def hibiki(script: Script) -> Hibiki:
    return cast("Hibiki", scripted(Hibiki, script))


def moshi(script: Script) -> Moshi:
    return cast("Moshi", scripted(Moshi, script))


def prompted(script: Script) -> Moshi:
    """A Moshi that takes a prompt."""
    made: Any = scripted(Moshi, script)
    made.bundle.manifest.prompt = PromptSettings(
        silence=(7, 8), partner=(50, 51), pause_frames=1, role_mark="<role>", loudness=-24.0
    )
    made.language_model.spec = replace(SPEC, context=30)
    return cast("Moshi", made)


def tokens(*said: int) -> Script:
    """A script that says these tokens, one a step, and then nothing."""
    return lambda step, _: said[step] if step < len(said) else PADDING


def ends_after(steps: int) -> Script:
    """A script that reads when its source ends, and ends so many steps later."""
    recognized: list[int] = []

    def script(step: int, read: Array) -> int:
        if read[3] == CARD and step > 1:
            recognized.append(step)
        return END if recognized and step == recognized[0] + steps else PADDING

    return script


def ramp(count: int) -> Array:
    """Samples of `count` frames, the first sample of frame `i` being `(i + 1) / 100`."""
    pcm: Array = np.repeat(np.arange(1, count + 1, dtype=np.float32) / 100, SIZE)
    return pcm
