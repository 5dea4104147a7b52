"""Voices by name or file: those in the bundle, those of a hub repository, and one's own.

Names are those of `kyutai/tts-voices`: the path of a recording there, such as
`expresso/ex03-ex01_happy_001_channel1_334s.wav`; a model's suffix leads to what was made of it.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.manifest import is_inside
from ...runtime.errors import ModelError, UsageError

Array = np.ndarray[Any, Any]

REPOSITORY = "kyutai/tts-voices"
DEFAULT_VOICE = "expresso/ex03-ex01_happy_001_channel1_334s.wav"
"""That of Kyutai's scripts."""
FOLDER = "voices"
TENSOR = "speaker_wavs"
RECORDINGS = (".wav", ".mp3", ".flac", ".ogg")

_HUB_FILE = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>.+)")
_SUFFIX = re.compile(r"\.[0-9a-f]+@[0-9]+\.safetensors$")


@dataclass(frozen=True)
class ListedVoice:
    """A voice that may be asked for, and where it is: `bundle`, `cache` or `hub`."""

    name: str
    place: str


class Voices:
    """The voices that fit one bundle. `suffix` is what their files end with after their names;
    empty where a model takes recordings."""

    def __init__(self, bundle: Bundle, repository: str = REPOSITORY) -> None:
        assert bundle.manifest.tts is not None
        self.suffix = bundle.manifest.tts.voice_suffix
        self._folder, self._repository = bundle.path / FOLDER, repository

    def find(self, voice: str | Path) -> Path:
        """The file of a voice: a local one (`file://` may stand before it), one of the bundle, one
        of the voice repository, or `hf://owner/name/path` of another.

        Raises UsageError for an unknown name, telling near ones, ModelError where the Hub cannot
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
        return within if _is_file(within) else self._download(name)

    def listed(self, *, online: bool = True) -> tuple[list[ListedVoice], str | None]:
        """All voices that fit, each where it is nearest, by name; and why the Hub could not be
        asked, if it could not."""
        places = {"bundle": self._bundled, "cache": self._cached}
        reason = None
        try:
            places["hub"] = self._published if online else []
        except ModelError as error:
            reason = str(error)
        found: dict[str, str] = {}
        for place, names in places.items():
            found |= {name: place for name in names if name not in found}
        return [ListedVoice(name, found[name]) for name in sorted(found)], reason

    @property
    def default(self) -> str | None:
        """What speaks where no voice is asked for: Kyutai's own choice, or the bundle's only
        ones; none for a model that takes recordings."""
        bundled = sorted(self._bundled)
        if bundled and DEFAULT_VOICE not in bundled:
            return bundled[0]
        return DEFAULT_VOICE if self.suffix else None

    def _download(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        from ..hub.download import MissingFileError, hub_errors

        given = _HUB_FILE.match(name)
        repo, file = (given["repo"], given["path"]) if given else (self._repository, name)
        if self.suffix and not file.endswith(".safetensors"):
            file += self.suffix
        try:
            with hub_errors(repo, file, None):
                return Path(hf_hub_download(repo, file))
        except MissingFileError:
            raise UsageError(
                f"no voice {name} for this model{self._near(name, online=True)}"
            ) from None
        except ModelError as error:
            near = self._near(name, online=False)
            raise ModelError(f"voice {name}: {error}{near}") from None

    def _near(self, name: str, *, online: bool) -> str:
        """Names that may have been meant, or where to find some."""
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

        from ..hub.download import hub_errors

        try:
            with hub_errors(self._repository, "voices", None):
                folder = Path(snapshot_download(self._repository, local_files_only=True))
        except ModelError:
            return []
        return self._names(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

    @cached_property
    def _published(self) -> list[str]:
        from huggingface_hub import HfApi

        from ..hub.download import hub_errors

        with hub_errors(self._repository, "the list of voices", None):
            return self._names(HfApi().list_repo_files(self._repository))

    def _names(self, files: Iterable[str]) -> list[str]:
        if not self.suffix:
            return [file for file in files if file.lower().endswith(RECORDINGS)]
        return [file.removesuffix(self.suffix) for file in files if file.endswith(self.suffix)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, or a folder that may not be read
        return False


def read_embedding(path: Path, frames: int, dim: int, suffix: str) -> Array:
    """A voice as float32 `[frames, dim]` from a file with `speaker_wavs` `[1, dim, frames]`.

    Raises UsageError for a recording or a voice of another model, ModelError for a file that holds
    no voice, or one of another shape.
    """
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
    tensor = _read_tensor(path)
    if tensor.shape != (1, dim, frames) or tensor.dtype.kind != "f":
        raise ModelError(
            f"{path}: {TENSOR} is {tensor.dtype} {list(tensor.shape)}, float32 "
            f"{[1, dim, frames]} expected; choose a voice made for this model"
        )
    if not np.isfinite(tensor).all():
        raise ModelError(f"{path}: {TENSOR} is not finite; download the voice again")
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
    if TENSOR not in tensors:
        found = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise ModelError(f"{path}: holds {found}, no {TENSOR}: this is not a voice")
    tensor: Array = tensors[TENSOR]
    return tensor
