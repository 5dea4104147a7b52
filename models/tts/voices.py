"""Voices: found by name or file, listed, and loaded as a model takes them.

Names are those of `kyutai/tts-voices`: the path of a recording there, such as
`expresso/ex03-ex01_happy_001_channel1_334s.wav`; a model's suffix leads to what was made of it.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.audio import check_audio
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.manifest import is_inside
from ...runtime.errors import ModelError, UsageError
from ...runtime.state_file import read_state
from ...runtime.typing import Array, Codes
from ..lm.language_model import Conditions, Guidance, LanguageModel
from ..mimi.model import Mimi
from ..resolve import is_demo
from ..stream_state import Record, check_state

REPOSITORY = "kyutai/tts-voices"
DEFAULT_VOICE = "expresso/ex03-ex01_happy_001_channel1_334s.wav"
"""That of Kyutai's scripts."""
FOLDER = "voices"
SPEAKER_WAVS = "speaker_wavs"
"""The tensor of a voice's file, and the conditioner that takes it."""
CFG = "cfg"
CONTROL = "control"
DEFAULT_CFG_COEF = 2.0
CUT_FRAMES = 2
"""The last frames of a recording, which its end touches (moshi models/tts.py `get_prefix`)."""
RECORDINGS = (".wav", ".mp3", ".flac", ".ogg")

_HUB_FILE = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>.+)")
_SUFFIX = re.compile(r"\.[0-9a-f]+@[0-9]+\.safetensors$")


@dataclass(frozen=True)
class ListedVoice:
    """The name of an available voice, and its place: `bundle`, `cache` or `hub`."""

    name: str
    place: str


class Voices:
    """Finds the voices that fit one bundle. `suffix` ends the names of their files; it is empty if
    the model takes recordings."""

    def __init__(self, bundle: Bundle, repository: str = REPOSITORY) -> None:
        assert bundle.manifest.tts is not None
        self.suffix = bundle.manifest.tts.voice_suffix
        self._folder, self._repository = bundle.path / FOLDER, repository
        self._is_demo, self._name = is_demo(bundle.path), bundle.manifest.name

    def find(self, voice: str | Path) -> Path:
        """Find the file of a voice: a local path or `file://` URL, a name in the bundle or in the
        voice repository, or `hf://owner/name/path` of another repository.

        Raises UsageError for an unknown name, with similar ones, and ModelError if the Hub cannot
        be reached.
        """
        name = str(voice).removeprefix("file://")
        for path in (Path(name), Path(name + self.suffix)):
            if _is_file(path):
                return path
        if name != str(voice) or Path(name).is_absolute() or name.endswith(".npz"):
            raise UsageError(f"{name}: there is no such file of a voice")
        plain = name if name.startswith("hf://") else name + self.suffix
        if not is_inside(plain.removeprefix("hf://")):
            raise UsageError(f"no voice {name[:100]!r}; see 'kyutai-onnx voices list'")
        within = self._folder / plain
        if _is_file(within):
            return within
        if self._is_demo:
            raise UsageError(
                f"no voice {name[:100]!r}: the demo has one voice; leave '--voice' out"
            )
        return self._download(name)

    def check(self, voice: str | Path) -> None:
        """Find a voice, and open its file as far as that needs no model.

        Raises UsageError for an unknown voice, or one of another kind than the model takes,
        AudioError for a recording and ModelError for a file that cannot be read.
        """
        path = self.find(voice)
        if path.suffix == ".npz":
            read_state(path)
        elif self.suffix:
            check_embedding(path, self.suffix)
            _read_tensor(path)
        else:
            check_recording(path, self._name)
            check_audio(path)

    def listed(self, *, online: bool = True) -> tuple[list[ListedVoice], str | None]:
        """List all voices that fit by name, each at its nearest place; and the reason if the Hub
        could not be reached."""
        places = {"bundle": self._bundled, "cache": self._cached}
        reason = None
        try:
            places["hub"] = self._published if online and not self._is_demo else []
        except ModelError as error:
            reason = str(error)
        found: dict[str, str] = {}
        for place, names in places.items():
            found |= {name: place for name in names if name not in found}
        return [ListedVoice(name, found[name]) for name in sorted(found)], reason

    @property
    def default(self) -> str | None:
        """The default voice: Kyutai's own choice, or the first of the bundle's; None for a model
        that takes recordings."""
        bundled = sorted(self._bundled)
        if bundled and DEFAULT_VOICE not in bundled:
            return bundled[0]
        return DEFAULT_VOICE if self.suffix else None

    def _download(self, name: str) -> Path:
        from ...runtime.hub import MissingFileError, download_file

        given = _HUB_FILE.match(name)
        repo, file = (given["repo"], given["path"]) if given else (self._repository, name)
        if self.suffix and not file.endswith(".safetensors"):
            file += self.suffix
        try:
            return download_file(repo, file)
        except MissingFileError:
            raise UsageError(
                f"no voice {name} for this model{self._near(name, online=True)}"
            ) from None
        except ModelError as error:
            near = self._near(name, online=False)
            raise ModelError(f"voice {name}: {error}{near}") from None

    def _near(self, name: str, *, online: bool) -> str:
        """Similar names, or the command that lists all."""
        known = [voice.name for voice in self.listed(online=online)[0]]
        short = {Path(voice).stem: voice for voice in reversed(known)}
        close = difflib.get_close_matches(name, known, 3, 0.5)
        close += [
            short[stem] for stem in difflib.get_close_matches(Path(name).stem, list(short), 3, 0.5)
        ]
        if not close:
            return "; see 'kyutai-onnx voices list'"
        return f"; did you mean {', '.join(dict.fromkeys(close))}?"

    @property
    def _bundled(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        files = (path for path in self._folder.rglob("*") if path.is_file())
        return self._names(path.relative_to(self._folder).as_posix() for path in files)

    @property
    def _cached(self) -> list[str]:
        from huggingface_hub import snapshot_download

        from ...runtime.hub import hub_errors

        try:
            with hub_errors(self._repository, "voices", None):
                folder = Path(snapshot_download(self._repository, local_files_only=True))
        except ModelError:
            return []
        return self._names(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

    @cached_property
    def _published(self) -> list[str]:
        from ...runtime.hub import list_files

        return self._names(list_files(self._repository, "the list of voices"))

    def _names(self, files: Iterable[str]) -> list[str]:
        if not self.suffix:
            return [file for file in files if file.lower().endswith(RECORDINGS)]
        return [file.removesuffix(self.suffix) for file in files if file.endswith(self.suffix)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, or a folder without permission to read it
        return False


@dataclass(frozen=True)
class Voice:
    """A voice as a model takes it: conditions and guidance, and for a model that clones recordings
    the `prompt`, codes int64 `[codebooks, frames]` that come before the speech.

    `primed` is the state of a row that has gone through the prompt. A voice from a saved stream has
    `saved`, the stream's state, and nothing else.
    """

    conditions: Conditions | None = field(default=None, repr=False)
    guidance: Guidance | None = field(default=None, repr=False)
    prompt: Codes | None = field(default=None, repr=False)
    primed: dict[str, Any] | None = field(default=None, repr=False)
    saved: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """The bytes of all its arrays."""
        null = None if self.guidance is None else self.guidance.null
        return sum(map(_nbytes, (self.conditions, null, self.prompt, self.primed, self.saved)))

    @property
    def is_guided(self) -> bool:
        """Whether it needs a null row beside each of its own."""
        if self.saved is not None:
            return self.saved["language_model"]["guidance"] is not None
        return self.guidance is not None


def _nbytes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_nbytes, value.values()))
    return int(value.nbytes) if isinstance(value, np.ndarray) else 0


class VoiceLoader:
    """Loads the voices of one model.

    `delay_steps` is the delay of its audio, `fields` returns the fields of its saved streams.
    """

    def __init__(
        self,
        voices: Voices,
        language_model: LanguageModel,
        mimi: Mimi,
        *,
        delay_steps: int,
        fields: Callable[[], Record],
    ) -> None:
        self._voices, self._language_model, self._mimi = voices, language_model, mimi
        self._bundle, self._delay_steps, self._fields = language_model.bundle, delay_steps, fields
        assert self._bundle.manifest.tts is not None
        self._max_speakers = self._bundle.manifest.tts.max_speakers
        self._name = self._bundle.manifest.name
        self._conditioners = language_model.spec.conditioners

    @property
    def takes_embeddings(self) -> bool:
        """Whether a voice is an embedding; otherwise it is a recording that the model continues."""
        return SPEAKER_WAVS in self._conditioners

    def load(self, voices: Sequence[str | Path], cfg_coef: float | None = None) -> Voice:
        """Load the voice of one speaker, or of the two of a conversation, by names or files.

        Raises UsageError for an unknown voice, one that the model cannot take, too many of them,
        or a coefficient that its table lacks; ModelError for a file that is not a voice.
        """
        paths = [self._voices.find(voice) for voice in voices]
        if any(path.suffix == ".npz" for path in paths):
            return self._saved(paths, cfg_coef)
        if self.takes_embeddings:
            return self._embedded(paths, cfg_coef)
        if len(paths) > 1:
            raise UsageError(f"{len(paths)} voices: {self._name} speaks in one alone")
        return self._prompted(self._prompt(paths[0]) if paths else None, cfg_coef)

    def from_embedding(self, embedding: Array, cfg_coef: float | None = None) -> Voice:
        """Make a voice of an embedding as a voice's file has it: float32 `[dim, frames]`, with or
        without a 1 before, or flat.

        Raises UsageError if the model takes no embeddings, or none of that size, for numbers that
        are not finite, and for a coefficient that its table lacks.
        """
        if not self.takes_embeddings:
            raise UsageError(f"{self._name} takes no voice embeddings: name a voice")
        frames, dim = self._shape
        if embedding.size != frames * dim or not np.isfinite(embedding).all():
            raise UsageError(f"a voice is {dim} x {frames} finite numbers, not {embedding.size}")
        return self._conditioned([embedding.reshape(dim, frames).T.astype(np.float32)], cfg_coef)

    def _saved(self, paths: Sequence[Path], cfg_coef: float | None) -> Voice:
        if len(paths) > 1:
            raise UsageError("a saved voice stands alone: give no other one with it")
        if cfg_coef is not None:
            raise UsageError(
                f"{paths[0]} was saved with its own cfg_coef: leave it out, or save again"
            )
        saved, family = read_state(paths[0]), self._bundle.manifest.family
        return Voice(saved=check_state(saved, self._bundle, family, self._fields()))

    def _embedded(self, paths: Sequence[Path], cfg_coef: float | None) -> Voice:
        most = self._max_speakers
        if len(paths) > most:
            raise UsageError(f"{len(paths)} voices: {self._name} takes {most} at most")
        frames, dim = self._shape
        suffix = self._voices.suffix
        return self._conditioned([read_embedding(p, frames, dim, suffix) for p in paths], cfg_coef)

    @property
    def _shape(self) -> tuple[int, int]:
        """Frames of an embedding, and numbers a frame."""
        spec = self._conditioners[SPEAKER_WAVS]
        assert spec.length is not None
        assert spec.dim is not None
        return spec.length // self._max_speakers, spec.dim

    def _conditioned(self, embeddings: Sequence[Array], cfg_coef: float | None) -> Voice:
        """A voice from embeddings float32 `[frames, dim]`, which may be none."""
        frames, dim = self._shape
        vectors = np.zeros((frames * self._max_speakers, dim), np.float32)
        mask = np.zeros(len(vectors), np.bool_)
        for index, embedding in enumerate(embeddings):
            part = slice(index * frames, (index + 1) * frames)
            vectors[part], mask[part] = embedding, True
        tensors = {SPEAKER_WAVS: (vectors, mask)} if embeddings else {}
        if CFG in self._conditioners:
            texts = self._texts(DEFAULT_CFG_COEF if cfg_coef is None else cfg_coef)
            return Voice(self._language_model.condition(texts, tensors))
        conditions = self._language_model.condition(self._texts(None), tensors)
        return Voice(conditions, self._guidance(cfg_coef, None, wanted=bool(embeddings)))

    def _prompted(self, prompt: Array | None, cfg_coef: float | None) -> Voice:
        by_table = CFG in self._conditioners
        if by_table and cfg_coef is None:
            cfg_coef = DEFAULT_CFG_COEF
        conditions = self._language_model.condition(self._texts(cfg_coef))
        if by_table:
            return Voice(conditions, None, prompt)
        frames = None if prompt is None else prompt.shape[1]
        guidance = self._guidance(cfg_coef, frames, wanted=prompt is not None)
        return Voice(conditions, guidance, prompt)

    def _texts(self, cfg_coef: float | None) -> dict[str, str | None]:
        """The texts for the model's tables (moshi models/tts.py `make_condition_attributes`)."""
        texts: dict[str, str | None] = {}
        if CONTROL in self._conditioners:
            texts[CONTROL] = "ok"
        if CFG in self._conditioners and cfg_coef is not None:
            values = self._conditioners[CFG].values or ()
            if cfg_coef not in map(float, values):
                raise UsageError(f"cfg_coef {cfg_coef:g}: this model knows {', '.join(values)}")
            texts[CFG] = format(cfg_coef, ".1f")
        return texts

    def _guidance(
        self, cfg_coef: float | None, prompt_frames: int | None, *, wanted: bool
    ) -> Guidance | None:
        """True guidance of a model that has no table of it (moshi run_tts.py)."""
        coefficient = cfg_coef if cfg_coef is not None else DEFAULT_CFG_COEF if wanted else 1.0
        if coefficient == 1.0:
            return None
        until = None if prompt_frames is None else prompt_frames + self._delay_steps
        null = self._language_model.condition()
        return Guidance(coefficient, null=null, masked_until=until, no_text=True)

    def _prompt(self, path: Path) -> Array:
        check_recording(path, self._name)
        codes = self._mimi.encode(path)[:, :-CUT_FRAMES]
        if not codes.shape[1]:
            raise UsageError(f"{path}: too short for a voice; give some seconds of speech")
        return codes


def check_recording(path: Path, model: str) -> None:
    """Raise UsageError for the voice of a model that takes embeddings."""
    if path.suffix == ".safetensors":
        raise UsageError(
            f"{path.name}: {model} takes its voice from a recording, such as a wav of 10 s, not "
            "from a voice embedding"
        )


def check_embedding(path: Path, suffix: str) -> None:
    """Raise UsageError for a recording or a voice of another model."""
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{path.name} is no voice embedding, and the encoder that makes one of a recording was "
            "never published: this model cannot clone a voice. Choose one of 'kyutai-onnx voices "
            "list', or use kyutai/tts-0.75b-en-public, which takes a recording"
        )
    made_for = _SUFFIX.search(path.name)
    if made_for and made_for.group() != suffix:
        raise UsageError(
            f"{path.name} was made for another model: this one takes names that end with {suffix}"
        )


def read_embedding(path: Path, frames: int, dim: int, suffix: str) -> Array:
    """Read a voice, float32 `[frames, dim]`, from a file with `speaker_wavs` `[1, dim, frames]`.

    Raises UsageError for a recording or a voice of another model, ModelError for a file without a
    voice, or with one of another shape.
    """
    check_embedding(path, suffix)
    tensor = _read_tensor(path)
    if tensor.shape != (1, dim, frames) or tensor.dtype.kind != "f":
        raise ModelError(
            f"{path}: {SPEAKER_WAVS} is {tensor.dtype} {list(tensor.shape)}, float32 "
            f"{[1, dim, frames]} expected; choose a voice made for this model"
        )
    if not np.isfinite(tensor).all():
        raise ModelError(f"{path}: {SPEAKER_WAVS} is not finite; download the voice again")
    embedding: Array = tensor[0].T.astype(np.float32)
    return embedding


def _read_tensor(path: Path) -> Array:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = str(error).partition("\n")[0]
        raise ModelError(f"{path}: not a voice in safetensors ({cause})") from None
    if SPEAKER_WAVS not in tensors:
        found = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise ModelError(f"{path}: holds {found}, no {SPEAKER_WAVS}: this is not a voice")
    tensor: Array = tensors[SPEAKER_WAVS]
    return tensor
