"""Inputs for a comparison: conditions, guidance and, for text to speech, text.

Any will do, as long as both programs get the same.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...conversion.checkpoint.config.lm import VOICE_FRAMES
from ...models.lm.generation import Generator
from ...models.lm.language_model import Guidance, LanguageModel, SamplingParams
from ...runtime.bundle.manifest import Conditioner, Manifest
from ...runtime.typing import Array
from .reference_trace import Conditioning, ReferenceTrace, condition_tensors
from .teacher_forcing import Agreement, TeacherForcing

WANTED = {"description": "very_good", "cfg": "2.0", "control": "ok"}
"""Values of Kyutai's own conditioners; of others it is their first."""

UNWANTED = {"description": "very_bad"}
"""What guidance leads away from, if it is not from nothing (moshi run_inference.py)."""

HIBIKI_GUIDANCE, SPEECH_GUIDANCE = 3.0, 2.0
PREFIX_FRAMES = 12
"""Frames of the speech that a voice without an embedding would begin with."""

PADDING, NEW_WORD = 0.6, 0.15
"""How often the made-up text holds padding and beginnings of words; the rest are pieces."""


@dataclass(frozen=True)
class Case:
    """How both are run; `null` is what a guided row is compared with."""

    given: Conditioning = field(default_factory=Conditioning)
    null: Conditioning = field(default_factory=Conditioning)
    coefficient: float = 1.0
    masked_until: int | None = None
    no_text: bool = False
    script: "SyntheticText | None" = None


def synthetic_case(manifest: Manifest, *, guided: bool) -> Case:
    """The conditions that the family knows, and guidance (if `guided`) where it uses it: Hibiki by
    its description, text to speech without a table of coefficients by its text."""
    lm = manifest.lm
    assert lm is not None
    given = synthetic_conditions(lm.conditioners)
    null = given.nothing()
    null.texts.update({name: value for name, value in UNWANTED.items() if name in given.texts})
    if manifest.family == "hibiki" and given.texts and guided:
        return Case(given, null, HIBIKI_GUIDANCE)
    if manifest.tts is None:
        return Case(given, null)
    script = SyntheticText(manifest)
    if "cfg" in lm.conditioners or not guided:
        return Case(given, null, script=script)
    masked = PREFIX_FRAMES + script.lead_in
    return Case(given, null, SPEECH_GUIDANCE, masked, no_text=True, script=script)


def synthetic_conditions(conditioners: dict[str, Conditioner]) -> Conditioning:
    """A value of every table and one voice of everything that takes tensors."""
    noise = np.random.default_rng(1)
    made = Conditioning()
    for name, conditioner in conditioners.items():
        if conditioner.kind == "lut":
            values = conditioner.values or ("made up",)
            wanted = WANTED.get(name)
            made.texts[name] = wanted if wanted in values else values[0]
        else:
            assert conditioner.length is not None
            assert conditioner.dim is not None
            mask = np.arange(conditioner.length) < VOICE_FRAMES
            vectors = noise.standard_normal((conditioner.length, conditioner.dim))
            made.tensors[name] = ((vectors * mask[:, None]).astype(np.float32), mask)
    return made


class SyntheticText:
    """Made-up text in place of what text to speech reads, and the silence before its speech.

    Token by token, with a second one where the model reads two; what the model itself would say is
    compared, and not gone on with.
    """

    def __init__(self, manifest: Manifest, seed: int = 2) -> None:
        lm, tts = manifest.lm, manifest.tts
        assert lm is not None
        assert tts is not None
        self.lead_in = int(tts.audio_delay_seconds * manifest.audio.frame_rate)
        self._lm, self._noise, self._offset = lm, np.random.default_rng(seed), 0

    def on_text(self, tokens: Array) -> Array:
        token, noise = self._token(), self._noise
        if self._lm.second_text_stream:
            second = self._token() if noise.random() < 0.5 else -1
            token += (second + 1) * (self._lm.text_card + 1)
        tokens[:] = token
        return tokens

    def _token(self) -> int:
        special, kind = self._lm.tokens, self._noise.random()
        if kind < PADDING:
            return special.text_padding
        if kind < PADDING + NEW_WORD:
            return special.text_end_of_padding
        return int(self._noise.integers(self._lm.text_card))

    def on_audio(self, codes: Array) -> Array:
        """Nothing before each codebook's own beginning (moshi models/tts.py `_on_audio_hook`)."""
        delays = np.asarray(self._lm.delays[1 : 1 + codes.shape[1]])
        codes[:, self._offset < delays + self.lead_in] = self._lm.tokens.zero
        self._offset += 1
        return codes


def make_reference_trace(model: Any, case: Case) -> ReferenceTrace:
    """The reference, one row."""
    rows = [case.given, case.null] if case.coefficient != 1 else [case.given]
    hooks: Any = {}
    if case.script is not None:
        hooks = {"on_text": case.script.on_text, "on_audio": case.script.on_audio}
    return ReferenceTrace(
        model,
        conditions=condition_tensors(model, rows),
        coefficient=case.coefficient,
        cfg_is_masked_until=None if case.masked_until is None else [case.masked_until],
        cfg_is_no_text=case.no_text,
        **hooks,
    )


def make_generator(
    lm: LanguageModel, case: Case, agreement: Agreement
) -> tuple[Generator, TeacherForcing]:
    """Ours, one row, and the rules by which it follows."""
    guided = case.coefficient != 1
    generator, rules = Generator(lm, guided=guided), TeacherForcing(agreement, 0)
    guidance = None
    if guided:
        null = lm.condition(case.null.texts, case.null.tensors)
        guidance = Guidance(case.coefficient, null, case.masked_until, case.no_text)
    conditions = lm.condition(case.given.texts, case.given.tensors)
    generator.begin(0, SamplingParams(), rules, conditions=conditions, guidance=guidance)
    return generator, rules
