"""Chooses the sink for a target: by a path's extension, WAV for anything else."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...errors import AudioError, UsageError
from ..pcm import Encoding, RawFormat, check_encoding
from .encoders import PcmSink, Sink, SndfileSink
from .output import STANDARD_OUTPUT, open_for_writing, open_stdout
from .wav import SUBTYPES

AudioTarget = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True)
class Container:
    """A file format and its usual encoding, as libsndfile names them."""

    format: str
    subtype: str


CONTAINERS = {
    ".wav": Container("WAV", "PCM_16"),
    ".flac": Container("FLAC", "PCM_16"),
    ".ogg": Container("OGG", "VORBIS"),
    ".opus": Container("OGG", "OPUS"),
    ".mp3": Container("MP3", "MPEG_LAYER_III"),
}


def target_name(target: AudioTarget) -> str:
    """What messages call it."""
    if isinstance(target, str | os.PathLike):
        path = os.fspath(target)
        return STANDARD_OUTPUT if path == "-" else path
    label = getattr(target, "name", None)
    return label if isinstance(label, str) else f"<{type(target).__name__}>"


def open_sink(
    target: AudioTarget, sample_rate: int, channels: int, subtype: str | None, raw: Encoding | None
) -> Sink:
    """The sink for a target; `raw` leaves the header out, whatever the extension.

    Raises UsageError for what cannot be written, AudioError for what the system refuses.
    """
    if raw:
        if subtype:
            raise UsageError(f"raw {raw} has no subtype: leave out {subtype!r}")
        check_encoding(raw)
        return _pcm_sink(target, RawFormat(sample_rate, raw, channels), headerless=True)
    if isinstance(target, str | os.PathLike) and os.fspath(target) != "-":
        container = _container(Path(target))
        subtype = subtype or container.subtype
        if container.format != "WAV" or subtype not in SUBTYPES:
            path = Path(target)
            return SndfileSink(path, sample_rate, channels, container.format, subtype)
    encoding = SUBTYPES.get(subtype or "PCM_16")
    if not encoding:
        raise UsageError(f"a WAV stream cannot hold {subtype}: choose {', '.join(SUBTYPES)}")
    return _pcm_sink(target, RawFormat(sample_rate, encoding, channels), headerless=False)


def _pcm_sink(target: AudioTarget, raw: RawFormat, *, headerless: bool) -> PcmSink:
    name = target_name(target)
    if not isinstance(target, str | os.PathLike):
        if not hasattr(target, "write"):
            raise UsageError(f"audio cannot be written to {name}: give a path or a binary file")
        return PcmSink(name, target, raw, headerless=headerless)
    if os.fspath(target) == "-":
        return PcmSink(name, open_stdout(), raw, headerless=headerless)
    output = open_for_writing(Path(target))
    return PcmSink(name, output.stream, raw, headerless=headerless, output=output)


def _container(path: Path) -> Container:
    container = CONTAINERS.get(path.suffix.lower())
    if not container:
        said = f"extension {path.suffix!r}" if path.suffix else "no extension"
        known = ", ".join(CONTAINERS)
        raise AudioError(f"cannot write {path}: {said} names no audio format; use {known}")
    return container
