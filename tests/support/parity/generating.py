"""How the models that make speech are run, and what Kyutai's `LMGen` makes of it."""

import importlib
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from support.parity.kyutai_tts import Speakers
from support.parity.schedule import ROWS, schedule

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.checkpoint.config import LutConditioner
from kyutai_onnx.export.verification.reference import reference_lm
from kyutai_onnx.export.verification.reference_trace import (
    Conditioning,
    ReferenceStep,
    ReferenceTrace,
    condition_tensors,
)
from kyutai_onnx.models.lm.language_model import SamplingParams

Array = np.ndarray[Any, Any]
GREEDY = SamplingParams()
SEED = 100


@dataclass(frozen=True)
class Case:
    """A model, and how it is run.

    `masked` keeps the null rows without input for a while, `prefixes` begins each row with
    speech of its own, `codebooks` makes only so many of each frame.
    """

    name: str
    lm: str
    coefficient: float = 1.0
    masked: bool = False
    no_text: bool = False
    prefixes: bool = False
    codebooks: int | None = None
    sampling: SamplingParams = GREEDY
    frames: int = 620

    def __str__(self) -> str:
        return self.name


@dataclass
class Run:
    """What was recorded of a case; `codes [frames, rows, n_q - dep_q]` are heard."""

    case: Case
    conditions: list[Conditioning]
    masked_until: list[int] | None
    codes: Array
    steps: list[ReferenceStep] = field(default_factory=list)


class Noise:
    """Random numbers for Kyutai's `multinomial`, each row's from a seed of its own, in our order:
    by steps, the text first; rows that make no codes draw none."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rows: dict[int, np.random.Generator] = {}
        self._calls = 0
        self.active: Array = np.empty(0, np.bool_)
        self.speaking: Array = np.empty(0, np.bool_)

    def seed(self, row: int) -> int:
        return self._seed + row

    def begin(self, row: int) -> None:
        self._rows[row] = np.random.default_rng(self.seed(row))

    def step(self, active: Array, speaking: Array) -> None:
        self._calls, self.active, self.speaking = 0, active, speaking

    def multinomial(self, chances: torch.Tensor, num_samples: int) -> torch.Tensor:
        """For moshi utils/sampling.py `multinomial`, of `[batch, 1, 1, candidates]`."""
        assert num_samples == 1
        noise = np.ones(chances.shape, np.float32)
        for row in np.flatnonzero(self.speaking if self._calls else self.active):
            noise[row, 0, 0] = self._rows[row].exponential(size=chances.shape[-1])
        self._calls += 1
        return (chances / torch.from_numpy(noise)).argmax(dim=-1, keepdim=True)


@torch.no_grad()
def record(case: Case, checkpoint: Checkpoint) -> Run:
    """Kyutai's `LMGen` over the schedule."""
    model = reference_lm(checkpoint)
    model.dep_q = case.codebooks or model.dep_q
    random = np.random.default_rng(3)
    rows = [conditioning(checkpoint, random, row) for row in range(ROWS)]
    prefixes = None
    if case.prefixes:
        lengths = (6, 0, 11, 3)
        prefixes = [random.integers(0, model.card, (model.dep_q, length)) for length in lengths]
    speakers = Speakers(checkpoint, prefixes) if checkpoint.family == "tts" else None
    shape = (case.frames, ROWS, model.n_q - model.dep_q)
    codes = random.integers(0, model.card, shape)
    if speakers is not None:
        codes[:] = -1
    run = Run(case, rows, masked_until(case, speakers, prefixes), codes)
    recording = make_recording(case, model, run, speakers)
    noise = Noise(SEED)
    with (
        recording.generator.streaming(ROWS),
        mock.patch.object(
            importlib.import_module("moshi.utils.sampling"), "multinomial", noise.multinomial
        ),
    ):
        _step(run, recording, speakers, noise)
    return run


def make_recording(case: Case, model: Any, run: Run, speakers: Speakers | None) -> ReferenceTrace:
    guided = case.coefficient != 1
    nulls = [row.nothing() for row in run.conditions] if guided else []
    hooks: Any = {}
    if speakers is not None:
        hooks = {"on_text": speakers.on_text, "on_audio": speakers.on_audio}
    sampling = case.sampling
    return ReferenceTrace(
        model,
        conditions=condition_tensors(model, [*run.conditions, *nulls]),
        coefficient=case.coefficient,
        cfg_is_masked_until=run.masked_until,
        cfg_is_no_text=case.no_text,
        temp=sampling.temperature,
        temp_text=sampling.text_temperature,
        top_k=sampling.top_k,
        top_k_text=sampling.text_top_k,
        **hooks,
    )


def _step(run: Run, recording: ReferenceTrace, speakers: Speakers | None, noise: Noise) -> None:
    begun: set[int] = set()
    for index, frame in enumerate(schedule(run.case.frames)):
        if frame.reset:
            mask = torch.zeros(ROWS, dtype=torch.bool)
            mask[frame.reset] = True
            recording.generator.reset_streaming(mask)
        recording.generator.set_exec_mask(torch.from_numpy(frame.active))
        beginning = [r for r in np.flatnonzero(frame.active) if r not in begun or r in frame.reset]
        begun |= set(beginning)
        for row in beginning:
            noise.begin(row)
        noise.step(frame.active, frame.active)
        if speakers is not None:
            for row in beginning:
                speakers.begin(row)
            noise.speaking = speakers.step(frame.active)
        run.steps.append(recording.step(run.codes[index]))


def conditioning(checkpoint: Checkpoint, random: np.random.Generator, row: int) -> Conditioning:
    """Another value and another voice in every row; the voices of row 1 are fewer."""
    config = checkpoint.config.lm
    assert config is not None
    lengths = config.condition_lengths(checkpoint.config.tts.max_speakers)
    texts, tensors = {}, {}
    for name, conditioner in config.conditioners.items():
        if isinstance(conditioner, LutConditioner):
            values = conditioner.possible_values or ("glad", "sad", "mad")
            texts[name] = values[(2 * row + 1) % len(values)]
        else:
            mask = np.arange(lengths[name]) < lengths[name] // (2 if row == 1 else 1)
            vectors = random.standard_normal((lengths[name], conditioner.dim)).astype(np.float32)
            tensors[name] = (vectors * mask[:, None], mask)
    return Conditioning(texts, tensors)


def masked_until(
    case: Case, speakers: Speakers | None, prefixes: list[Array] | None
) -> list[int] | None:
    """Where the null rows begin to receive: after the prefix and the silence before it, if any."""
    if not case.masked:
        return None
    if speakers is None or prefixes is None:
        return [5, 0, 30, 12]
    return [prefix.shape[1] + speakers.delay_steps for prefix in prefixes]
