"""What it costs how long threads wait awake for the next kernel: alone, and beside a busy process.

    python -m benchmarks.waiting BUNDLE [--threads 2] [--rounds 5] [--frames 10]

Every way is a process of its own; they take turns of a few frames. Milliseconds a frame, medians.
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .peers import Engine

SPIN, MICROSECONDS = "session.intra_op.allow_spinning", "session.intra_op.spin_duration_us"
STOP = "session.force_spinning_stop"
WAYS: dict[str, dict[str, str]] = {
    "they sleep between kernels": {SPIN: "0"},
    **{f"awake for {count} µs": {MICROSECONDS: str(count)} for count in (3, 6, 10, 20, 50)},
    "as long as onnxruntime lets them, within a run": {MICROSECONDS: "-1"},
    "as long as it lets them, between runs too": {MICROSECONDS: "-1", STOP: "0"},
}


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy_process() -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def medians(engines: list[Engine], rounds: int, frames: int) -> list[float]:
    """Milliseconds a frame of each, after a turn that is not counted."""
    for engine in engines:
        engine.frames.clear()
    for turn in range(rounds + 1):
        for engine in engines:
            engine.step(frames, counted=turn > 0)
    return [statistics.median(1e3 * parts["frame"] for parts in e.frames) for e in engines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=10)
    arguments = parser.parse_args()
    engines = []
    for name, entries in WAYS.items():
        words = [str(arguments.bundle), json.dumps(entries)]
        engines.append(Engine.start(name, "waiting", words, Path(), arguments.threads))
    alone = medians(engines, arguments.rounds, arguments.frames)
    with busy_process():
        beside = medians(engines, arguments.rounds, arguments.frames)
    for engine in engines:
        engine.stop()
    print("| threads | alone, ms a frame | beside one busy process |")
    print("|---|---|---|")
    for engine, one, other in zip(engines, alone, beside, strict=True):
        print(f"| {engine.name} | {one:.1f} | {other:.1f} |")


if __name__ == "__main__":
    main()
