"""One stream over 22 hours of audio, beside one that is saved, closed and loaded again and again.

    python -m benchmarks.endurance --folder FOLDER [--frames 1000000] [--every 100000]

Recordings of the demo's test set, mixed with noise and at many levels so that nothing repeats, are
transcribed by the embedded demo as fast as it can, twice: by one stream, and by a stream that every
`--every` frames is saved to a file and loaded by a new process. Every token and every code of the
two must be equal. A time is the processor time of a frame, the median of a window of frames; memory
is that of the process, mapped files apart. The exit code is 1 where a token differs, a word is out
of time, memory grows by 5 MB or a frame takes 10 % longer at the end than at the beginning.

Both runs keep a checkpoint at the end of every window: call the command again and they continue.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.models.batch import Stream, TokenTrace
from kyutai_onnx.models.stt.task import SpeechToTextTask
from kyutai_onnx.runtime.audio import Pcm, read_audio
from kyutai_onnx.runtime.state_file import read_state, write_state

from .memory import resident_mb
from .talks import SET

BLOCK = 100
"""Frames of audio that are made at once, always the same ones for a number."""
AT_ONCE = 4
"""Frames that are fed in one call."""
WINDOWS = 20
LATEST_SECONDS = 3.0
"""After its end a word of the demo is known by then."""
SLACK_TIME, SLACK_MEGABYTES = 1.1, 5.0


class Sound:
    """Recordings at many levels, with rests and noise between and under them."""

    def __init__(self, rate: int, frame_size: int) -> None:
        self._rate, self._size = rate, BLOCK * frame_size
        files = sorted(SET.glob("*.ogg"))
        self._recordings = [np.concatenate(list(read_audio(path, rate))) for path in files]

    def block(self, number: int) -> Pcm:
        """Float32 `[BLOCK * frame_size]`."""
        random = np.random.default_rng([12, number])
        level = 10 ** random.uniform(-4, -2.3)
        pcm = (level * random.standard_normal(self._size)).astype(np.float32)
        place = int(random.integers(0, self._rate))
        while place < self._size:
            recording = self._recordings[random.integers(len(self._recordings))]
            part = recording[: self._size - place]
            pcm[place : place + len(part)] += np.float32(random.uniform(0.2, 1.0)) * part
            place += len(part) + int(self._rate * random.uniform(0.2, 3.0))
        return np.clip(pcm, -1.0, 1.0)


class Times:
    """Words in the order in which they come: each begins no sooner than the one before it, and has
    just been spoken."""

    def __init__(self) -> None:
        self.count = self.wrong = 0
        self._start = 0.0

    def add(self, words: Iterable[Word], elapsed: float) -> None:
        for word in words:
            ordered = self._start <= word.start <= word.end
            self.wrong += not (ordered and elapsed - LATEST_SECONDS <= word.end <= elapsed)
            self.count, self._start = self.count + 1, word.start


class Digest:
    """Of the tokens and codes that a stream made, which are not kept."""

    def __init__(self, trace: TokenTrace) -> None:
        self._trace, self._digest = trace, hashlib.sha256()

    def take(self) -> None:
        self._digest.update(np.array(self._trace.text, np.int64).tobytes())
        self._digest.update(np.array(self._trace.codes, np.int64).tobytes())
        self._trace.text.clear()
        self._trace.codes.clear()

    def taken(self) -> str:
        """In hexadecimal, all that was made by now."""
        self.take()
        return self._digest.hexdigest()


@dataclass(frozen=True)
class Window:
    """What a run was like up to a frame: milliseconds of processor time a frame, megabytes, and the
    words so far."""

    frame: int
    milliseconds: float
    megabytes: float
    words: int
    wrong: int


@dataclass
class Progress:
    """How far a run is, as it is kept beside its state."""

    frame: int
    loads: int
    windows: list[Window]
    digests: list[str]
    """Of the tokens and codes of each window."""


class Run:
    """One of the two, in its folder; a process at a time works on it."""

    def __init__(self, folder: Path, window: int) -> None:
        self._folder, self._window = folder, window
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "progress.json"
        self.progress = self._read()

    def work(self, stop: int, last: int) -> None:
        """Continues up to frame `stop`; after the last one the stream is flushed."""
        model = SpeechToText.load(threads=1)
        trace, times = TokenTrace(), Times()
        stream = self._open(model, trace)
        sound = Sound(model.sample_rate, model.frame_size)
        before = self.progress.windows[-1] if self.progress.windows else Window(0, 0, 0, 0, 0)
        while self.progress.frame < stop:
            made = Digest(trace)
            took = [
                seconds
                for number in range(self.progress.frame // BLOCK, self._next // BLOCK)
                for seconds in _transcribe(stream, sound.block(number), number, times, made)
            ]
            words, wrong = before.words + times.count, before.wrong + times.wrong
            window = Window(self._next, 1e3 * median(took), resident_mb(), words, wrong)
            if self._next == last:
                stream.flush()
            self._keep(stream, made.taken(), window)

    def _open(self, model: SpeechToText, trace: TokenTrace) -> Stream[SpeechToTextTask]:
        stream = model.stream(trace=trace)
        if self.progress.frame:
            stream.load(read_state(self._state(self.progress.frame)))
            self.progress.loads += 1
        return stream

    @property
    def _next(self) -> int:
        """The end of the next window."""
        return self.progress.frame + self._window

    def _keep(self, stream: Stream[SpeechToTextTask], made: str, window: Window) -> None:
        """Writes the state before the progress that names it."""
        write_state(self._state(window.frame), stream.save())
        past = self._state(self.progress.frame)
        self.progress.frame = window.frame
        self.progress.windows.append(window)
        self.progress.digests.append(made)
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self.progress)))
        temporary.replace(self._file)
        past.unlink(missing_ok=True)

    def _state(self, frame: int) -> Path:
        return self._folder / f"state-{frame}.npz"

    def _read(self) -> Progress:
        if not self._file.exists():
            return Progress(0, 0, [], [])
        kept = json.loads(self._file.read_text())
        windows = [Window(**window) for window in kept["windows"]]
        return Progress(kept["frame"], kept["loads"], windows, kept["digests"])


def _transcribe(
    stream: Stream[SpeechToTextTask], block: Pcm, number: int, times: Times, made: Digest
) -> list[float]:
    """The seconds of processor time that a frame of each call took."""
    model, took = stream.model, list[float]()
    size = model.frame_size
    for frame in range(0, BLOCK, AT_ONCE):
        started = time.process_time()
        events = stream.feed(block[frame * size : (frame + AT_ONCE) * size])
        took.append((time.process_time() - started) / AT_ONCE)
        elapsed = (number * BLOCK + frame + AT_ONCE) / model.frame_rate
        times.add((event for event in events if isinstance(event, Word)), elapsed)
    made.take()
    return took


def supervise(folder: Path, frames: int, every: int, window: int) -> int:
    """Works on both runs side by side, each in processes of its own; returns the exit code."""
    ours = [sys.executable, "-m", "benchmarks.endurance", "--folder", str(folder)]
    given = [*ours, "--frames", str(frames), "--every", str(every)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def start(name: str, stop: int) -> subprocess.Popen[bytes] | None:
        if Run(folder / name, window).progress.frame >= stop:
            return None
        return subprocess.Popen([*given, "--work", name, "--stop", str(stop)], env=environment)

    whole = start("whole", frames)
    for stop in range(every, frames + 1, every):
        part = start("parts", stop)
        if part is not None and part.wait():
            if whole is not None:
                whole.terminate()
            return 1
    failed = whole is not None and whole.wait() != 0
    return 1 if failed else report(folder, window)


def report(folder: Path, window: int) -> int:
    """Prints both runs and writes them to `result.json`; returns the exit code."""
    whole, parts = (Run(folder / name, window).progress for name in ("whole", "parts"))
    print("| frames | ms a frame | MB | ms, loaded | MB, loaded | words | tokens and codes |")
    print("|---:|---:|---:|---:|---:|---:|---|")
    equal = [one == other for one, other in zip(whole.digests, parts.digests, strict=True)]
    for one, other, same in zip(whole.windows, parts.windows, equal, strict=True):
        print(
            f"| {one.frame} | {one.milliseconds:.2f} | {one.megabytes:.1f} | "
            f"{other.milliseconds:.2f} | {other.megabytes:.1f} | {one.words} | "
            f"{'equal' if same else 'DIFFERENT'} |"
        )
    first, last = whole.windows[1:5] or whole.windows, whole.windows[-4:]
    early, late = (median(one.milliseconds for one in some) for some in (first, last))
    grown = max(one.megabytes for one in whole.windows) - first[0].megabytes
    wrong = whole.windows[-1].wrong + parts.windows[-1].wrong
    result = {
        "frames": whole.frame,
        "equal": all(equal),
        "loads": parts.loads,
        "loads_of_the_whole": whole.loads,
        "milliseconds_early": early,
        "milliseconds_late": late,
        "megabytes_grown": grown,
        "words": whole.windows[-1].words,
        "words_out_of_time": wrong,
    }
    runs = {"whole": asdict(whole), "parts": asdict(parts)}
    (folder / "result.json").write_text(json.dumps({**result, **runs}, indent=2))
    print(json.dumps(result))
    flat = late <= SLACK_TIME * early and grown <= SLACK_MEGABYTES
    return 0 if all(equal) and not wrong and flat else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=100_000)
    parser.add_argument("--work", choices=["whole", "parts"], help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    window = max(BLOCK, given.frames // WINDOWS // BLOCK * BLOCK)
    if given.every % window or given.frames % given.every:
        parser.error(f"--frames is a multiple of --every, and that of {window}")
    if given.work is not None:
        Run(given.folder / given.work, window).work(given.stop, given.frames)
        return
    raise SystemExit(supervise(given.folder, given.frames, given.every, window))


if __name__ == "__main__":
    main()
