"""Hours of live listening at many times real time: does a frame cost more, does memory grow, do
times ever go back or leave the clock?

    python -m benchmarks.long_session --hours 4

The model gets sentences of the demo with rests between them as from a microphone, by frames, with
the watchdog, subtitles and statistics that `stream` keeps. The last minute may take 5 % longer than
the second, and no minute may end with 5 MB more than it; else the exit code is 1.
"""

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

from kyutai_onnx.cli.output.subtitles import SubtitleFile
from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.models.families import SAMPLES
from kyutai_onnx.runtime.audio import Pcm, cut_frames, read_audio
from kyutai_onnx.runtime.audio.live import Meter, WallClock

from .memory import resident_mb

REST_SECONDS = 1.5
MINUTE = 750
SLACK_TIME, SLACK_MEGABYTES = 1.05, 5.0
LATEST_SECONDS = 3.0
"""After its end a word of the demo is emitted by then."""


def talk(rate: int) -> Iterator[Pcm]:
    """The samples of the demo again and again, with quiet noise between them."""
    noise = np.random.default_rng(0)
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".wav", ".flac"))
    for path in itertools.cycle(files):
        yield from read_audio(path, rate)
        yield (0.003 * noise.standard_normal(round(REST_SECONDS * rate))).astype(np.float32)


class Times:
    """Words in the order in which they are emitted: each begins no sooner than the one before it,
    and has just been received."""

    def __init__(self) -> None:
        self.count, self.wrong = 0, 0
        self.start, self.end = 0.0, 0.0

    def add(self, words: Iterable[Word], elapsed: float) -> None:
        for word in words:
            ordered = self.start <= word.start <= word.end
            if not (ordered and elapsed - LATEST_SECONDS <= word.end <= elapsed):
                self.wrong += 1
                print(f"wrong: {word} after {self.start} s, emitted after {elapsed:.2f} s of audio")
            self.count, self.start, self.end = self.count + 1, word.start, word.end


def listen(minutes: int, times: Times) -> Iterator[tuple[float, float]]:
    """For each minute the milliseconds that a frame took, and the memory at its end."""
    model = SpeechToText.load()
    stream, meter = model.stream(watchdog=10.0), Meter(WallClock())
    sound = cut_frames(talk(model.sample_rate), model.frame_size)
    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        subtitles = SubtitleFile(Path(folder) / "live.srt")
        for number, pcm in enumerate(itertools.islice(sound, minutes * MINUTE), 1):
            started = time.perf_counter()
            with meter.working(len(pcm) / model.sample_rate, time.monotonic()):
                events = stream.feed(pcm)
            took.append(time.perf_counter() - started)
            found = [event for event in events if isinstance(event, Word)]
            for word in found:
                meter.note_word(word.end)
            times.add(found, number * model.frame_size / model.sample_rate)
            subtitles.add(found)
            if number % MINUTE == 0:
                yield 1e3 * median(took), resident_mb()
                took.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=4.0)
    minutes = max(2, math.ceil(60 * parser.parse_args().hours))
    times, rows = Times(), list[tuple[float, float]]()
    for row in listen(minutes, times):
        rows.append(row)
        if len(rows) == 2 or len(rows) % 30 == 0:
            print(f"minute {len(rows)}: {row[0]:.2f} ms a frame, {row[1]:.1f} MB", flush=True)
    (time_first, memory_first), (time_last, memory_last) = rows[1], rows[-1]
    most_time, most_memory = (max(row[i] for row in rows[1:]) for i in (0, 1))
    print(f"{minutes} minutes, {times.count} words, {times.wrong} at a wrong time", end=", ")
    print(f"the last one ends at {times.end:.1f} s")
    print(f"ms a frame: minute 2 {time_first:.2f}, last {time_last:.2f}, most {most_time:.2f}")
    print(f"MB: minute 2 {memory_first:.1f}, last {memory_last:.1f}, most {most_memory:.1f}")
    flat = time_last <= SLACK_TIME * time_first and most_memory - memory_first <= SLACK_MEGABYTES
    print("flat" if flat else "NOT FLAT")
    raise SystemExit(0 if flat and times.count and not times.wrong else 1)


if __name__ == "__main__":
    main()
