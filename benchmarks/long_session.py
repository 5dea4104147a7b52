"""Hours of live listening at many times real time: does a frame cost more, does memory grow, do
times ever go back?

    python -m benchmarks.long_session --hours 4

Sentences of the demo with rests between them are heard as from a microphone, frame by frame, with
the watchdog, subtitles and statistics that `stream` keeps.
"""

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from kyutai_onnx.cli.subtitle_file import SubtitleFile
from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.models.locate import SAMPLES
from kyutai_onnx.runtime.audio import Meter, Pcm, WallClock, read_audio
from kyutai_onnx.runtime.audio.paced import frames

from .memory import resident_mb

REST_SECONDS = 1.5
MINUTE = 750
SLACK_TIME, SLACK_MEGABYTES = 1.05, 5.0


def talk(rate: int) -> Iterator[Pcm]:
    """The samples of the demo again and again, with quiet noise between them."""
    noise = np.random.default_rng(0)
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".wav", ".flac"))
    for path in itertools.cycle(files):
        yield from read_audio(path, rate)
        yield (0.003 * noise.standard_normal(round(REST_SECONDS * rate))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=4.0)
    minutes = math.ceil(60 * parser.parse_args().hours)
    model = SpeechToText.load()
    stream, meter = model.stream(watchdog=10.0), Meter(WallClock())
    told, last, words = -1.0, 0.0, 0
    rows: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        subtitles = SubtitleFile(Path(folder) / "live.srt")
        took: list[float] = []
        sound = frames(talk(model.sample_rate), model.frame_size)
        for number, pcm in enumerate(itertools.islice(sound, minutes * MINUTE), 1):
            started = time.perf_counter()
            with meter.working(len(pcm) / model.sample_rate, time.monotonic()):
                events = stream.feed(pcm)
            took.append(time.perf_counter() - started)
            found = [event for event in events if isinstance(event, Word)]
            for word in found:
                meter.told(word.end)
                assert word.start >= told, f"a word at {word.start} s after one at {told} s"
                told, last, words = word.start, word.end, words + 1
            subtitles.add(found)
            if number % MINUTE == 0:
                rows.append((1e3 * median(took), resident_mb()))
                took.clear()
    (time_first, memory_first), (time_last, memory_last) = rows[1], rows[-1]
    most_time, most_memory = (max(row[i] for row in rows[1:]) for i in (0, 1))
    print(f"{minutes} minutes, {words} words, the last one ends at {last:.1f} s")
    print(f"ms a frame: minute 2 {time_first:.2f}, last {time_last:.2f}, most {most_time:.2f}")
    print(f"MB: minute 2 {memory_first:.1f}, last {memory_last:.1f}, most {most_memory:.1f}")
    flat = time_last <= SLACK_TIME * time_first and memory_last - memory_first <= SLACK_MEGABYTES
    print("flat" if flat else "NOT FLAT")


if __name__ == "__main__":
    main()
