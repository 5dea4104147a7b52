"""Whether a frame costs after many thousands what it cost at first, in time and in memory.

    python -m benchmarks.flat_cost BUNDLE [--frames 20000] [--threads 2]

Two streams of one model, every ring full before the first frame. One is a thousand frames old, the
other about to finish the frames named: a thousand frames of each are timed in turn, so that what
else the machine does meets both alike.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from kyutai_onnx.export.verification.verify import synthetic_voice
from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.batch import Stream
from kyutai_onnx.models.frame_benchmark import fill_kv_caches
from kyutai_onnx.models.stt.task import SpeechToTextTask

from .memory import resident_mb

TIMED = 1000


def full_stream(model: SpeechToText) -> Stream[SpeechToTextTask]:
    """A stream in which every ring of the codec and of the language model is full of noise."""
    noise = np.random.default_rng(0)
    stream = model.stream()
    saved = stream.save()
    fill_kv_caches(saved["encoder"], model.mimi.open("encode").graphs, noise)
    fill_kv_caches(saved["language_model"]["transformer"], [model.language_model.temporal], noise)
    stream.load(saved)
    return stream


def advance(stream: Stream[SpeechToTextTask], voice: np.ndarray, count: int) -> None:
    for index in range(count):
        stream.feed(voice[index % len(voice)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    model = SpeechToText.load(arguments.bundle, threads=arguments.threads)
    size, rate = model.frame_size, model.sample_rate
    voice = synthetic_voice(rate, size * 500).reshape(500, size)
    young, old = full_stream(model), full_stream(model)
    advance(young, voice, TIMED)
    advance(old, voice, 2 * TIMED)
    before = resident_mb()
    advance(old, voice, arguments.frames - 3 * TIMED)
    times: dict[str, list[float]] = {"young": [], "old": []}
    for frame in range(TIMED):
        for name, stream in (("young", young), ("old", old)):
            started = time.perf_counter()
            stream.feed(voice[frame % len(voice)])
            times[name].append(1e3 * (time.perf_counter() - started))
    early, late = (float(np.median(values)) for values in times.values())
    first = arguments.frames - TIMED
    print(f"frames {TIMED}-{2 * TIMED}: {early:.2f} ms a frame (median)")
    print(f"frames {first}-{arguments.frames}: {late:.2f} ms a frame, {late / early - 1:+.1%}")
    print(
        f"memory: {before:.1f} MB after {2 * TIMED} frames, then {resident_mb() - before:+.1f} MB"
    )


if __name__ == "__main__":
    main()
