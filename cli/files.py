"""The files that a command reads and writes, declared before anything is loaded."""

import codecs
import enum
import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TextIO

from ..runtime.errors import AudioError, KyutaiOnnxError, UsageError
from ..runtime.output_file import refused, writes_directly

if TYPE_CHECKING:
    from ..runtime.audio import RawFormat

Identity = tuple[int, int] | str
"""Device and number of an existing file; the resolved path of one that is yet to be made."""

Name = str | Path | None
"""A file of a command line: - is standard input or output, None was not given."""

_HEAD_BYTES = 400

NUL = "\0"
"""In no text; every second character of UTF-16 that is read as UTF-8."""


@dataclass(frozen=True)
class InputFile:
    """A recording to read, and its folder below the folder that was given, if one was."""

    name: str
    subfolder: Path = Path()


class FileKind(enum.StrEnum):
    """Files that nobody replaces by accident; `OTHER` is anything else."""

    AUDIO = "a recording"
    MODEL = "a file of a model"
    OTHER = "a file"


_AUDIO_MARKS = (
    *((0, mark) for mark in (b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"riff")),
    *((8, mark) for mark in (b"WAVE", b"AIFF", b"AIFC")),
    *((0, b"\xff" + bytes([second])) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)),
)
"""Where a mark of recordings lies, and the mark; MP3 without tags begins with a frame."""

_MODEL_MARKS = (
    (0, b"GGUF"),
    (8, b'{"'),  # safetensors, behind the length of its header
    (0, b"\x0a\x0e\x0a\x05<unk>"),  # sentencepiece
)

_AUDIO_ENDINGS = (
    *(".wav", ".wave", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf"),
    *(".au", ".raw", ".pcm", ".m4a", ".aac", ".wma", ".mp4", ".mov", ".mkv", ".webm", ".avi"),
    *(".amr", ".ac3", ".wv", ".spx", ".mts", ".m2ts"),
)
_MODEL_ENDINGS = (".onnx", ".safetensors", ".gguf", ".pt", ".pth", ".ckpt", ".model")


NAMED_FILES = 5
"""How many of the files that are left out are named."""


class Declared:
    """The files that the running command writes, and those that its options have read."""

    outputs: ClassVar[dict[Identity, Path]] = {}
    inputs: ClassVar[list[Path]] = []


def declare(
    *,
    reads: Iterable[Name],
    audio: Iterable[Name] = (),
    others: Iterable[Name] = (),
    force: bool = False,
) -> None:
    """Declare the inputs of a command, the recordings and the other files that it writes.

    Raises UsageError if an output is an input, by whatever name or link; if two outputs are the
    same file; or, without `force`, if an output would replace a recording or a model by another
    kind of file.
    """
    sounds, texts = _named(audio), _named(others)
    inputs = _identities([*reads, *Declared.inputs])
    Declared.outputs = outputs = {}
    printed = open_file(sys.stdout)
    if printed in inputs:
        raise UsageError(f"standard output is the input {inputs[printed]}; redirect it elsewhere")
    for path in (*sounds, *texts):
        with refused(path):
            shared = not path.is_dir() and writes_directly(path)
        identity = _identity(path)
        if identity is None:
            continue
        if identity in inputs:
            raise UsageError(f"{path} is an input of this command; name another file")
        if not shared and (identity in outputs or identity == printed):
            raise UsageError(f"{path} is to be written twice; name another file")
        outputs[identity] = path
    if not force:
        _keep_others(sounds, texts)


def protect_folder(folder: Path) -> None:
    """Raise UsageError if an output is a file of a folder that the command reads."""
    if not Declared.outputs:
        return
    for file in folder.rglob("*"):
        output = Declared.outputs.get(_identity(file) or "")
        if output is not None:
            raise UsageError(f"{output} is a file of {folder}, which is read; name another file")


def declare_folder(folder: Path | None, *, reads: Iterable[Name]) -> None:
    """Declare a folder that a command replaces; raises UsageError if an input lies in it."""
    if folder is None:
        return
    real = Path(os.path.realpath(folder))
    for path in _named(reads):
        if Path(os.path.realpath(path)).is_relative_to(real):
            raise UsageError(f"{folder} holds the input {path}; name another folder")


def _keep_others(sounds: Iterable[Path], texts: Iterable[Path]) -> None:
    """Raise UsageError for a file of a model, and for a recording that no recording replaces."""
    kinds = [(path, kind_of(path), FileKind.AUDIO) for path in sounds]
    kinds += [(path, kind_of(path), FileKind.OTHER) for path in texts]
    for path, kind, allowed in kinds:
        if kind not in (allowed, FileKind.OTHER):
            raise UsageError(f"{path} is {kind}; name another file, or replace it with '--force'")


def _named(names: Iterable[Name]) -> list[Path]:
    return [Path(name) for name in names if name is not None and str(name) != "-"]


def _identities(reads: Iterable[Name]) -> dict[Identity, str]:
    names = [name for name in reads if name is not None]
    found = {identity: str(path) for path in _named(names) if (identity := _identity(path))}
    piped = open_file(sys.stdin) if any(str(name) == "-" for name in names) else None
    return found if piped is None else found | {piped: "standard input"}


def _identity(path: Path) -> Identity | None:
    """Return what identifies a file; None for folders, pipes and devices, which may be shared."""
    try:
        return _number(path.stat())
    except OSError:
        return os.path.normcase(os.path.realpath(path))


def open_file(stream: TextIO | None) -> Identity | None:
    """Return the file that a standard stream is redirected to; None for anything else."""
    if stream is not None:
        with suppress(OSError, ValueError, AttributeError):
            return _number(os.fstat(stream.fileno()))
    return None


def _number(status: os.stat_result) -> Identity | None:
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def kind_of(path: Path) -> FileKind:
    """Return the kind of a file; one that is empty, missing or unreadable is `OTHER`."""
    head, ending = _head(path), path.suffix.lower()
    if not head:
        return FileKind.OTHER
    if _has_mark(head, _MODEL_MARKS) or ending in _MODEL_ENDINGS or _in_bundle(path):
        return FileKind.MODEL
    if _has_mark(head, _AUDIO_MARKS) or ending in _AUDIO_ENDINGS or _is_foreign(head):
        return FileKind.AUDIO
    return FileKind.OTHER


def _is_foreign(head: bytes) -> bool:
    """Whether a file begins as films do, or as audio files that PyAV reads."""
    from ..runtime.audio.files.reader import foreign_kind

    return foreign_kind(head) is not None


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _has_mark(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head[at:].startswith(mark) for at, mark in marks)


def _in_bundle(path: Path) -> bool:
    from ..runtime.bundle.manifest import is_bundle

    return is_bundle(path.resolve().parent)


def check_recording(
    name: str, *, channel: int | None = None, raw: "RawFormat | None" = None
) -> None:
    """Raise AudioError or UsageError for a recording that cannot be opened, or has no such channel.

    Of a pipe nothing is read.
    """
    from ..runtime.audio import check_audio
    from ..runtime.audio.files.source import open_source

    if name == "-":
        open_source(name).close()
    elif not is_pipe(Path(name)):
        check_audio(name, channel=channel, raw=raw)


def check_recordings(
    names: Iterable[str], *, channel: int | None = None, raw: "RawFormat | None" = None
) -> None:
    """Raise the first error of recordings if none of them can be opened."""
    first: KyutaiOnnxError | None = None
    for name in names:
        try:
            check_recording(name, channel=channel, raw=raw)
        except KyutaiOnnxError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def recordings_in(names: Iterable[str], note: Callable[[str], None]) -> tuple[InputFile, ...]:
    """Return the files, with those of a folder and the folders in it instead of its name, sorted.

    Hidden files are left out; `note` names others that are not audio. Raises AudioError for a
    folder without audio.
    """
    found: list[InputFile] = []
    for name in names:
        folder = Path(name)
        if name == "-" or not folder.is_dir():
            found.append(InputFile(name))
            continue
        files = sorted(path for path in folder.rglob("*") if _is_shown(path.relative_to(folder)))
        files = [path for path in files if path.is_file()]
        sounds = [path for path in files if kind_of(path) is FileKind.AUDIO]
        if not sounds:
            raise AudioError(f"{name} is a folder without audio files; name an audio file")
        if others := [str(path.relative_to(folder)) for path in files if path not in sounds]:
            note(f"note: {name}: left out, as they are not audio: {few(others)}")
        found += (InputFile(str(path), path.parent.relative_to(folder)) for path in sounds)
    return tuple(found)


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED_FILES} more" if len(names) > NAMED_FILES else ""
    return ", ".join(names[:NAMED_FILES]) + more


class TextDecoder:
    """Decodes text in UTF-8, or in UTF-16 by its byte order mark; the mark is no part of it.

    `name` says in errors what the text is from.
    """

    def __init__(self, name: str | Path) -> None:
        self._name, self._head = name, b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """Return the characters that the bytes complete.

        Raises UsageError for bytes in another encoding, such as Latin-1 or UTF-16 without a mark.
        """
        if self._decoder is None:
            self._head += data
            if len(self._head) < len(codecs.BOM_UTF16) and not final:
                return ""
            data = self._head
            marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            self._decoder = codecs.getincrementaldecoder("utf-16" if marked else "utf-8-sig")()
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            text = NUL
        if NUL in text:
            raise UsageError(
                f"{self._name}: neither UTF-8 nor UTF-16 with a byte order mark; save it as UTF-8"
            )
        return text


def decoded(content: bytes, name: str | Path) -> str:
    """Return a whole text; raises UsageError as `TextDecoder` does."""
    return TextDecoder(name).decode(content, final=True)


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def is_pipe(path: Path) -> bool:
    """Whether reading would take from a pipe or a device what cannot be read again."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return False
