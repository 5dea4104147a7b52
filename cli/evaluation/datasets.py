"""Recordings with their transcripts: a folder, a manifest, or a named data set.

The named ones are those of Kyutai's scripts/stt_evaluate_on_dataset.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PureWindowsPath

import numpy as np

from ...models.events import Word
from ...runtime.audio import AudioSource, Resampler
from ...runtime.bundle.dataclass_json import parse, parse_json
from ...runtime.errors import ModelError, UsageError
from ...runtime.typing import Array
from ..files import check_recording, decoded, few
from ..load import read_whole
from ..messages import print_note

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3")
MANIFEST = "manifest.jsonl"
TEXT_KEYS = ("text", "sentence", "normalized_text", "transcript", "transcription")


@dataclass(frozen=True)
class Sample:
    """A recording, as a file or as samples with their rate, and its transcript.

    `words` have times; it is empty if they are unknown.
    """

    audio: AudioSource | tuple[Array, int]
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A line of a manifest."""

    audio: str
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Named:
    """A data set on the Hugging Face Hub."""

    repository: str
    config: str | None
    split: str = "test"


ESB = "hf-audio/esb-datasets-test-only-sorted"
NAMED = {
    "rev16": Named("distil-whisper/rev16", "whisper_subset"),
    "earnings21": Named("distil-whisper/earnings21", "full"),
    "earnings22": Named("distil-whisper/earnings22", "full"),
    "tedlium": Named("distil-whisper/tedlium-long-form", None),
    "meanwhile": Named("distil-whisper/meanwhile", None),
    "ami": Named(ESB, "ami"),
    "librispeech.clean": Named(ESB, "librispeech", "test.clean"),
    "librispeech.other": Named(ESB, "librispeech", "test.other"),
    "voxpopuli": Named(ESB, "voxpopuli"),
    "spgispeech": Named(ESB, "spgispeech"),
    "gigaspeech": Named(ESB, "gigaspeech"),
    "tedlium-short": Named(ESB, "tedlium"),
    "earnings22-short": Named(ESB, "earnings22"),
}


def read_samples(name: str, limit: int | None = None, *, quiet: bool = False) -> Iterator[Sample]:
    """Yield the samples of a folder, a manifest or a named set.

    A note names files of a folder that have no transcript, unless `quiet`. Raises UsageError for
    another name, ModelError for a set that cannot be downloaded.
    """
    path = Path(name)
    if name in NAMED:
        samples = _hub(NAMED[name])
    elif path.is_dir() and (path / MANIFEST).is_file():
        samples = _manifest(path / MANIFEST)
    elif path.is_dir():
        samples = _folder(path, quiet)
    elif path.is_file():
        samples = _manifest(path)
    else:
        raise UsageError(
            f"--dataset {name}: not a folder, a manifest (.jsonl) or one of {', '.join(NAMED)}"
        )
    return islice(samples, limit)


def checked(name: str, samples: Iterator[Sample]) -> tuple[Iterable[Sample], int]:
    """Return samples of which something is known before a model is loaded, and their number, 0 if
    only the end shows: the files of all of them can be opened, or the first one has come.

    Raises UsageError if there are none, AudioError for a recording that cannot be opened.
    """
    first = next(samples, None)
    if first is None:
        raise UsageError(f"--dataset {name}: it has no samples")
    whole = chain([first], samples)
    if isinstance(first.audio, tuple):
        return whole, 0
    found = list(whole)
    for each in found:
        check_recording(str(each.audio))
    return found, len(found)


def _folder(folder: Path, quiet: bool) -> Iterator[Sample]:
    """Yield audio files that have a text file of the same name; the others are named in a note."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO)
    pairs = [(file, file.with_suffix(".txt")) for file in files]
    found = [(file, text) for file, text in pairs if text.is_file()]
    if not found:
        raise UsageError(f"{folder}: no audio file with its transcript in a .txt beside it")
    without = [str(file.relative_to(folder)) for file, text in pairs if not text.is_file()]
    if without:
        print_note(f"note: without a transcript (.txt), left out: {few(without)}", quiet=quiet)
    for file, text in found:
        yield Sample(file, _text(text).strip())


def _manifest(path: Path) -> Iterator[Sample]:
    """Yield a sample per line: `audio`, a path relative to the manifest, `text`, and `words` if
    any."""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = parse(Entry, parse_json(line))
        except ValueError as error:
            raise UsageError(
                f'{path}, line {number}: not {{"audio": ..., "text": ...}} ({error})'
            ) from None
        yield Sample(_place(path.parent, entry.audio), entry.text, entry.words)


def _place(folder: Path, name: str) -> Path:
    """Return the file that a manifest names, also one that was written on Windows."""
    path = folder / name
    return path if path.exists() else folder / PureWindowsPath(name).as_posix()


def _text(path: Path) -> str:
    """Return the text of a manifest or a transcript."""
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = "transcript" if path.suffix == ".txt" else "manifest (.jsonl)"
        raise UsageError(f"{path}: not a {kind} that can be read ({error})") from None
    return decoded(content, path)


def _hub(named: Named) -> Iterator[Sample]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(
            "named data sets need another package; run 'pip install \"kyutai-onnx[evaluate]\"'"
        ) from None
    try:
        rows = load_dataset(named.repository, named.config, split=named.split, streaming=True)
        for row in rows:
            text = next((str(row[key]) for key in TEXT_KEYS if key in row), "")
            if text.strip() not in ("", "ignore time segment in scoring"):
                yield Sample((row["audio"]["array"], row["audio"]["sampling_rate"]), text)
    except (OSError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise ModelError(f"{named.repository} could not be downloaded: {cause}") from None


def samples_of(sample: Sample, sample_rate: int) -> Array:
    """Read the audio of a sample: mono float32 `[n]` at `sample_rate`.

    Raises AudioError for a file that cannot be read.
    """
    if not isinstance(sample.audio, tuple):
        return read_whole(sample.audio, sample_rate)
    samples, rate = sample.audio
    mono = np.asarray(samples, np.float32)
    mono = mono if mono.ndim == 1 else mono.mean(axis=int(np.argmin(mono.shape)))
    resampler = Resampler(rate, sample_rate)
    return np.concatenate([resampler.push(np.ascontiguousarray(mono)), resampler.flush()])
