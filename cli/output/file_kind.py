"""What a file is, by its first bytes or its ending: whether something would be lost with it."""

import enum
from pathlib import Path

from ...runtime.audio.files.reader import FOREIGN
from ...runtime.bundle.manifest import FILE_NAME

_HEAD_BYTES = 16


class FileKind(enum.StrEnum):
    """Files that nobody replaces by accident; `OTHER` is anything else."""

    AUDIO = "a recording"
    MODEL = "a file of a model"
    OTHER = "a file"


_AUDIO_MARKS = (
    *((0, mark) for mark in (b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"riff")),
    *((8, mark) for mark in (b"WAVE", b"AIFF", b"AIFC")),
    *((0, b"\xff" + bytes([second])) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)),
    *((at, mark) for at, mark, _name, _demuxer in FOREIGN),
)
"""Where a mark of recordings and films lies, and the mark; MP3 without tags begins with a frame."""

_MODEL_MARKS = (
    (0, b"GGUF"),
    (8, b'{"'),  # safetensors, behind the length of its header
    (0, b"\x0a\x0e\x0a\x05<unk>"),  # sentencepiece
)

_AUDIO_ENDINGS = (
    *(".wav", ".wave", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf"),
    *(".au", ".raw", ".pcm", ".m4a", ".aac", ".wma", ".mp4", ".mov", ".mkv", ".webm", ".avi"),
)
_MODEL_ENDINGS = (".onnx", ".safetensors", ".gguf", ".pt", ".pth", ".ckpt", ".model")


def kind_of(path: Path) -> FileKind:
    """The kind of an existing file; one that is empty, missing or unreadable is `OTHER`."""
    head = _head(path)
    ending = path.suffix.lower()
    if not head:
        return FileKind.OTHER
    if _has_mark(head, _MODEL_MARKS) or ending in _MODEL_ENDINGS or _in_bundle(path):
        return FileKind.MODEL
    if _has_mark(head, _AUDIO_MARKS) or ending in _AUDIO_ENDINGS:
        return FileKind.AUDIO
    return FileKind.OTHER


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
    return (path.resolve().parent / FILE_NAME).is_file()
