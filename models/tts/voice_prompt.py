"""Who speaks: what a model is given to speak in a voice, and how much that is insisted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.state_file import read_state
from ..lm.language_model import Conditions, Guidance
from ..state import check_state
from .voices import read_embedding

if TYPE_CHECKING:
    from .model import TextToSpeech

Array = np.ndarray[Any, Any]

SPEAKER_WAVS = "speaker_wavs"
CFG = "cfg"
CONTROL = "control"
KIND = "tts"
DEFAULT_CFG_COEF = 2.0
CUT_FRAMES = 2
"""The last frames of a recording, which its end touches (moshi models/tts.py `get_prefix`)."""


@dataclass(frozen=True)
class Voice:
    """A voice, ready: conditions and guidance, and the codes int64 `[codebooks, frames]` that are
    spoken before all else, where `primed` is the memory of a row that has spoken them; or instead
    of all that the memory of a stream, `saved`."""

    conditions: Conditions | None = None
    guidance: Guidance | None = None
    prefix: Array | None = None
    primed: dict[str, Any] | None = None
    saved: dict[str, Any] | None = None

    @property
    def nbytes(self) -> int:
        """How much memory it holds."""
        null = None if self.guidance is None else self.guidance.null
        return sum(map(_bytes, (self.conditions, null, self.prefix, self.primed, self.saved)))

    @property
    def is_guided(self) -> bool:
        """Whether a null row is needed beside each of its own."""
        if self.saved is not None:
            return self.saved["language_model"]["guidance"] is not None
        return self.guidance is not None


def _bytes(held: Any) -> int:
    """Of the arrays in what is nested anyhow."""
    if isinstance(held, dict):
        return sum(map(_bytes, held.values()))
    return int(held.nbytes) if isinstance(held, np.ndarray) else 0


def load_voice(
    model: "TextToSpeech", voices: Sequence[str | Path], cfg_coef: float | None
) -> Voice:
    """A speaker from names or files of voices: of one, or of the two of a conversation.

    Raises UsageError for an unknown voice, one that the model cannot take, too many of them, or a
    coefficient that its table lacks; ModelError for a file that is no voice.
    """
    paths = [model.voices.find(voice) for voice in voices]
    if any(path.suffix == ".npz" for path in paths):
        return _saved_speaker(model, paths, cfg_coef)
    if model.knows_speakers:
        return _embedded(model, paths, cfg_coef)
    if len(paths) > 1:
        raise UsageError(f"{len(paths)} voices: {model.name} speaks in one alone")
    prefix = _prefix(model, paths[0]) if paths else None
    return _by_prefix(model, prefix, cfg_coef)


def _saved_speaker(model: "TextToSpeech", paths: Sequence[Path], cfg_coef: float | None) -> Voice:
    if len(paths) > 1:
        raise UsageError("a saved voice stands alone: give no other one with it")
    if cfg_coef is not None:
        raise UsageError(f"{paths[0]} was saved with its own cfg_coef: leave it out, or save again")
    saved = read_state(paths[0])
    check_state(saved, model.bundle, KIND, model.saved_part)
    return Voice(saved=saved)


def voice_from_embedding(
    model: "TextToSpeech", embedding: Array, cfg_coef: float | None = None
) -> Voice:
    """A speaker from an embedding as it stands in a voice's file: float32 `[dim, frames]`, with or
    without a 1 before, or flat.

    Raises UsageError where the model takes none, or none of that size, for numbers that are not
    finite, and for a coefficient that its table lacks.
    """
    if not model.knows_speakers:
        raise UsageError(f"{model.name} takes no voice embeddings: name a voice")
    frames, dim = _voice_shape(model)
    if embedding.size != frames * dim or not np.isfinite(embedding).all():
        raise UsageError(f"a voice is {dim} x {frames} finite numbers, not {embedding.size}")
    return _speaker_of(model, [embedding.reshape(dim, frames).T.astype(np.float32)], cfg_coef)


def _embedded(model: "TextToSpeech", paths: Sequence[Path], cfg_coef: float | None) -> Voice:
    most = model.max_speakers
    if len(paths) > most:
        raise UsageError(f"{len(paths)} voices: {model.name} takes {most} at most")
    frames, dim = _voice_shape(model)
    suffix = model.voices.suffix
    return _speaker_of(model, [read_embedding(p, frames, dim, suffix) for p in paths], cfg_coef)


def _voice_shape(model: "TextToSpeech") -> tuple[int, int]:
    """Frames and numbers a frame of a voice."""
    spec = model.spec.conditioners[SPEAKER_WAVS]
    assert spec.length is not None
    assert spec.dim is not None
    return spec.length // model.max_speakers, spec.dim


def _speaker_of(model: "TextToSpeech", voices: Sequence[Array], cfg_coef: float | None) -> Voice:
    """Of voices float32 `[frames, dim]`, which may be none."""
    frames, dim = _voice_shape(model)
    vectors = np.zeros((frames * model.max_speakers, dim), np.float32)
    mask = np.zeros(len(vectors), np.bool_)
    for index, voice in enumerate(voices):
        part = slice(index * frames, (index + 1) * frames)
        vectors[part], mask[part] = voice, True
    tensors = {SPEAKER_WAVS: (vectors, mask)} if voices else {}
    if CFG in model.spec.conditioners:
        texts = _texts(model, DEFAULT_CFG_COEF if cfg_coef is None else cfg_coef)
        return Voice(model.language_model.condition(texts, tensors))
    conditions = model.language_model.condition(_texts(model, None), tensors)
    return Voice(conditions, _guidance(model, cfg_coef, None, wanted=bool(voices)))


def _by_prefix(model: "TextToSpeech", prefix: Array | None, cfg_coef: float | None) -> Voice:
    by_table = CFG in model.spec.conditioners
    if by_table and cfg_coef is None:
        cfg_coef = DEFAULT_CFG_COEF
    conditions = model.language_model.condition(_texts(model, cfg_coef))
    if by_table:
        return Voice(conditions, None, prefix)
    frames = None if prefix is None else prefix.shape[1]
    guidance = _guidance(model, cfg_coef, frames, wanted=prefix is not None)
    return Voice(conditions, guidance, prefix)


def _texts(model: "TextToSpeech", cfg_coef: float | None) -> dict[str, str | None]:
    """What the tables of a model are asked for (moshi models/tts.py
    `make_condition_attributes`)."""
    conditioners = model.spec.conditioners
    texts: dict[str, str | None] = {}
    if CONTROL in conditioners:
        texts[CONTROL] = "ok"
    if CFG in conditioners and cfg_coef is not None:
        texts[CFG] = _table_value(conditioners[CFG].values or (), cfg_coef)
    return texts


def _table_value(values: Sequence[str], cfg_coef: float) -> str:
    if cfg_coef not in map(float, values):
        raise UsageError(f"cfg_coef {cfg_coef:g}: this model knows {', '.join(values)}")
    return format(cfg_coef, ".1f")


def _guidance(
    model: "TextToSpeech", cfg_coef: float | None, prefix: int | None, *, wanted: bool
) -> Guidance | None:
    """True guidance of a model that has no table of it (moshi run_tts.py)."""
    coefficient = cfg_coef if cfg_coef is not None else DEFAULT_CFG_COEF if wanted else 1.0
    if coefficient == 1.0:
        return None
    until = None if prefix is None else prefix + model.delay_steps
    null = model.language_model.condition()
    return Guidance(coefficient, null=null, masked_until=until, no_text=True)


def _prefix(model: "TextToSpeech", path: Path) -> Array:
    if path.suffix == ".safetensors":
        raise UsageError(
            f"{path.name}: {model.name} takes its voice from a recording, such as a wav of 10 s, "
            "not from a voice embedding"
        )
    codes = model.mimi.encode(path)[:, :-CUT_FRAMES]
    if not codes.shape[1]:
        raise UsageError(f"{path}: too short for a voice; give some seconds of speech")
    return codes
