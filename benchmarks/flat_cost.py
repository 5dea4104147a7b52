"""Whether a frame costs after many thousands what it cost at first, in time and in memory.

    python -m benchmarks.flat_cost BUNDLE [--frames 20000] [--threads 2]

One stream, its rings full before the first frame that counts. Times are medians over the frames
named, memory is what the process holds.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from kyutai_onnx.export.verify import made_up_voice
from kyutai_onnx.models import SpeechToText

from .rings import full_stream

EARLY, LATE = (1000, 2000), (19_000, 20_000)


def resident_mb() -> float:
    """Memory of this process that is no file's."""
    status = Path("/proc/self/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=LATE[1])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    model = SpeechToText.load(arguments.bundle, threads=arguments.threads)
    size, rate = model.frame_size, model.sample_rate
    voice = made_up_voice(rate, size * 500).reshape(500, size)
    stream = full_stream(model)
    times = np.empty(arguments.frames)
    memory = {}
    for index in range(arguments.frames):
        started = time.perf_counter()
        stream.feed(voice[index % len(voice)])
        times[index] = 1e3 * (time.perf_counter() - started)
        if index + 1 in (EARLY[1], arguments.frames):
            memory[index + 1] = resident_mb()
    late = (arguments.frames - (LATE[1] - LATE[0]), arguments.frames)
    early, after = (float(np.median(times[a:b])) for a, b in (EARLY, late))
    print(f"frames {EARLY[0]}-{EARLY[1]}: {early:.2f} ms a frame (median)")
    print(f"frames {late[0]}-{late[1]}: {after:.2f} ms a frame, {100 * (after / early - 1):+.1f} %")
    grown = memory[arguments.frames] - memory[EARLY[1]]
    print(f"memory: {memory[EARLY[1]]:.1f} MB, then {grown:+.1f} MB")


if __name__ == "__main__":
    main()
