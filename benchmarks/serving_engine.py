"""Streams in real time against the time from a frame's last sample to its events, in one
process and without sockets.

    python -m benchmarks.serving_engine --streams 1 8 16 32 64

Every stream of speech to text is fed frame by frame at the pace of a microphone, each in a phase of
its own, with the demo's sentences; a frame is answered when its `Step` is delivered. A word comes
with the frame that shows its end, the model's own delay after it was said. The words of each stream
are compared with those of a stream alone. `--files` more are fed without pauses.
"""

import argparse
import heapq
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.long_session import talk
from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.events import Step, WordStarted
from kyutai_onnx.server.engine import Ended, Engine, Session, SessionEvent, Statistics
from kyutai_onnx.server.limits import Limits

Array = np.ndarray[Any, Any]
WARM_UP = 25
"""Frames of each stream that are not counted."""

PATIENCE = 120.0


@dataclass
class Client:
    """One stream: when each frame was fed, and how long it took until it was answered."""

    sent: deque[float] = field(default_factory=deque)
    took: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    ended: bool = False

    def deliver(self, reported: Sequence[SessionEvent]) -> None:
        now = time.perf_counter()
        for event in reported:
            if isinstance(event, Step) and self.sent:
                self.took.append(now - self.sent.popleft())
            elif isinstance(event, WordStarted):
                self.words.append(event.text)
            elif isinstance(event, Ended):
                self.ended = True


@dataclass(frozen=True)
class Outcome:
    """Seconds of each frame of all streams, and what the engine counted."""

    took: Array
    equal: int
    seconds: float
    statistics: Statistics

    def row(self, streams: int, slots: int) -> str:
        counted = self.statistics
        p50, p99 = (1e3 * np.percentile(self.took, [50, 99])).tolist()
        busy = counted.step_seconds.sum / self.seconds
        rows = counted.row_steps / counted.steps
        cells = (streams, f"{p50:.1f}", f"{p99:.1f}", f"{1e3 * self.took.max():.1f}")
        shares = (f"{100 * busy:.0f} %", f"{rows:.1f}", f"{self.equal} of {slots}")
        return "| " + " | ".join(map(str, (*cells, *shares))) + " |"


def serve(
    model: SpeechToText, pcm: Array, streams: int, files: int, expected: list[str]
) -> Outcome:
    """Feeds them all to their end."""
    slots, statistics = streams + files, Statistics()
    engine = Engine("benchmark", model, slots, Limits(), statistics)
    engine.start()
    clients = [Client() for _ in range(slots)]
    sessions = [
        Session(engine, lambda batch: batch.join(model.task(live=True, lead=False)), client.deliver)
        for client in clients
    ]
    started = time.perf_counter()
    for session in sessions[streams:]:
        session.feed(pcm)
        session.end()
    _feed(sessions[:streams], clients, pcm, model.frame_size, 1 / model.frame_rate)
    fed = time.perf_counter() - started
    until = time.perf_counter() + PATIENCE
    while not all(client.ended for client in clients) and time.perf_counter() < until:
        time.sleep(0.05)
    seconds = max(fed, time.perf_counter() - started)
    engine.stop(0.0)
    took = [client.took[WARM_UP:] for client in clients[:streams]]
    equal = sum(client.words == expected for client in clients)
    return Outcome(np.concatenate(took), equal, seconds, statistics)


def _feed(
    sessions: Sequence[Session],
    clients: Sequence[Client],
    pcm: Array,
    size: int,
    frame_seconds: float,
) -> None:
    """Every stream's next frame when its time has come."""
    phases = np.random.default_rng(0).uniform(0, frame_seconds, len(sessions))
    began = time.perf_counter()
    frames = len(pcm) // size
    coming = [(began + phase, number, 0) for number, phase in enumerate(phases)]
    heapq.heapify(coming)
    while coming:
        due, number, frame = heapq.heappop(coming)
        time.sleep(max(0.0, due - time.perf_counter()))
        if frame == frames:
            sessions[number].end()
            continue
        clients[number].sent.append(due)
        sessions[number].feed(pcm[frame * size : (frame + 1) * size])
        heapq.heappush(coming, (due + frame_seconds, number, frame + 1))


def alone(model: SpeechToText, pcm: Array) -> list[str]:
    """The words of a stream by itself."""
    batch = model.batch(1)
    row = batch.join(model.task(live=True, lead=False))
    row.feed(pcm)
    row.end()
    while batch.step():
        pass
    return [event.text for event in row.events() if isinstance(event, WordStarted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a bundle; the demo by default")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16, 32, 64])
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    model = SpeechToText.load(given.model, threads=given.threads)
    most = int(given.seconds * model.sample_rate)
    sound = itertools.islice(talk(model.sample_rate), 1000)
    pcm = np.concatenate([piece for piece, _ in zip(sound, range(200), strict=False)])[:most]
    pcm = pcm[: len(pcm) // model.frame_size * model.frame_size]
    expected = alone(model, pcm)
    print(f"{len(pcm) / model.sample_rate:.0f} s, {len(expected)} words, {given.files} files\n")
    print("| streams | p50 ms | p99 ms | longest ms | busy | rows a step | equal words |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for streams in given.streams:
        outcome = serve(model, pcm, streams, given.files, expected)
        print(outcome.row(streams, streams + given.files), flush=True)


if __name__ == "__main__":
    main()
