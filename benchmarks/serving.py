"""How many streams a server transcribes in real time, and how late its words are.

    python -m benchmarks.serving --streams 1 8 16 24 32 --json found.json
    python -m benchmarks.serving --model BUNDLE --streams 1 2 3 4

A real `kyutai-onnx serve` on loopback, and speakers in another process of the same machine. Each
has a websocket of `/api/asr-streaming`, and sends 80 ms of audio every 80 ms: recordings of the
demo's test set with rests, the phases of the speakers spread over a frame.

Lag is the server's own part: from the moment at which the last sample of a frame was due to be
sent, to the arrival of the word that the model found by that frame. Which frame that is, is known
from a stream that has the model to itself, whose words must be the same, one by one. A model that
transcribes no words, as one of random weights, is sent a marker every half second instead; its
frame is known too. Sound to word is from the end of the word in the recording, by the
test set's own times: the model's delay is in it.

Streams are in real time where 99 in 100 words lag by two frames at most: one for the step that is
being made when the frame comes, one for its own. Then a server of so many slots is offered ten
speakers more, who must be refused while the others go on.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kyutai_onnx.models import SpeechToText

from .machine import busy_seconds
from .memory import peak_mb, resident_mb
from .peers import ROOT
from .served import ServedProcess, served_process
from .serving_clients import FRAME_SECONDS, Plan
from .serving_tables import as_markdown
from .talks import RecognizedWord, Talk, recognized_alone, talk

MOST_LAG = 2 * FRAME_SECONDS
MOST_TALKS = 8
MARK_EVERY = 6
PERCENTILES = (50, 95, 99)
EXTRA = 10


@dataclass(frozen=True)
class Reference:
    """A talk, its transcript by a stream alone, and by how many frames a marker lags behind."""

    talk: Talk
    recognized: list[RecognizedWord]
    delay: int


@dataclass(frozen=True)
class Level:
    """So many streams at once. Times in seconds; `lag` and `sound_to_word` are their 50th, 95th
    and 99th percentiles; `cpu` is how many processors the server used, `others` how many neither it
    nor the speakers did. `differing` streams got other words than a stream alone, `failed` ones
    were cut off."""

    streams: int
    answers: int
    lag: tuple[float, ...]
    sound_to_word: tuple[float, ...]
    differing: int
    failed: int
    cpu: float
    others: float
    resident_mb: float
    peak_mb: float
    late: float
    refused: list[list[str]]

    @property
    def in_real_time(self) -> bool:
        whole = not self.failed and not self.differing and len(self.lag) > 0
        return whole and self.lag[-1] <= MOST_LAG


def references(model: str | None, count: int, seconds: float) -> list[Reference]:
    """What the model transcribes in each talk."""
    loaded = SpeechToText.load(model)
    stt = loaded.bundle.manifest.stt
    assert stt is not None
    delay = int(np.ceil(stt.audio_delay_seconds / FRAME_SECONDS))
    talks = [talk(number, seconds) for number in range(count)]
    return [Reference(one, recognized_alone(loaded, one.pcm), delay) for one in talks]


def measure(server: ServedProcess, plan: Plan, known: Sequence[Reference]) -> Level:
    """One level, by speakers in a process of their own."""
    cpu, busy, clients = server.cpu_seconds, busy_seconds(), clients_seconds()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving_clients"],
        cwd=ROOT,
        input=json.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    spent, clients = server.cpu_seconds - cpu, clients_seconds() - clients
    others = busy_seconds() - busy - spent - clients
    took = time.perf_counter() - started
    reported = json.loads(done.stdout)
    speakers = reported["speakers"]
    lags: list[float] = []
    sounds: list[float] = []
    differing = 0
    for speaker in speakers:
        reference = known[speaker["talk"]]
        differing += [text for text, _ in speaker["words"]] != [
            w.text for w in reference.recognized
        ]
        lags += lags_of(speaker, reference)
        sounds += sound_to_word(speaker, reference)
    return Level(
        streams=plan.streams,
        answers=len(lags),
        lag=percentiles(lags),
        sound_to_word=percentiles(sounds),
        differing=differing,
        failed=sum(speaker["error"] is not None for speaker in speakers),
        cpu=spent / reported["seconds"],
        others=others / took,
        resident_mb=resident_mb(server.pid),
        peak_mb=peak_mb(server.pid),
        late=percentiles([late for speaker in speakers for late in speaker["late"]])[-1],
        refused=reported["refused"],
    )


def clients_seconds() -> float:
    """Time that processors have spent on the processes of speakers that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lags_of(speaker: dict[str, Any], reference: Reference) -> list[float]:
    """From the end of each frame to the answer that it brought; none after a word that differs."""
    found = []
    for (text, came), recognized in zip(speaker["words"], reference.recognized, strict=False):
        if text != recognized.text:
            break
        found.append(came - (recognized.frame + 1) * FRAME_SECONDS)
    return found + [
        came - (number + 1 + reference.delay) * FRAME_SECONDS for number, came in speaker["marks"]
    ]


def sound_to_word(speaker: dict[str, Any], reference: Reference) -> list[float]:
    """From the end of each word in the recording to its message, of the right words."""
    said, recognized = reference.talk.said, speaker["words"]
    matcher = SequenceMatcher(
        None, [text for text, _ in said], [text for text, _ in recognized], False
    )
    return [
        recognized[block.b + index][1] - said[block.a + index][1]
        for block in matcher.get_matching_blocks()
        for index in range(block.size)
    ]


def percentiles(values: Sequence[float]) -> tuple[float, ...]:
    """The 50th, 95th and 99th; none of no values."""
    return tuple(float(value) for value in np.percentile(values, PERCENTILES)) if values else ()


def flags_of(arguments: argparse.Namespace, slots: int, folder: Path) -> list[str]:
    """What a server of so many slots is started with: one model, and no more."""
    config = folder / "server.toml"
    model = "" if arguments.model is None else f"model = {json.dumps(arguments.model)}\n"
    config.write_text(f'[[models]]\ntask = "stt"\n{model}slots = {slots}\n', "utf-8")
    threads = [] if arguments.threads is None else ["--threads", str(arguments.threads)]
    return ["--config", str(config), *threads]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", help="a bundle of speech to text; default: the demo")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16, 24, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="of a talk")
    parser.add_argument("--threads", type=int, help="of the server's model")
    parser.add_argument("--json", type=Path, help="keeps what was found")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    known = references(given.model, min(MOST_TALKS, max(given.streams)), given.seconds)
    every = None if any(reference.recognized for reference in known) else MARK_EVERY

    def level(server: ServedProcess, streams: int, extra: int = 0) -> Level:
        talks = min(streams, len(known))
        plan = Plan(server.url, streams, talks, given.seconds, extra, every)
        return measure(server, plan, known)

    with TemporaryDirectory() as name:
        folder = Path(name)
        with served_process(*flags_of(given, max(given.streams), folder)) as server:
            levels = [level(server, streams) for streams in given.streams]
        most = max((one.streams for one in levels if one.in_real_time), default=0)
        crowded = None
        if most:
            with served_process(*flags_of(given, most, folder)) as server:
                crowded = level(server, most, EXTRA)
    found = {
        "model": given.model or "the embedded demo",
        "processors": os.cpu_count(),
        "load_before": load,
        "seconds": given.seconds,
        "answers": "words" if every is None else "markers",
        "levels": [asdict(one) for one in levels],
        "most": most,
        "crowded": crowded and asdict(crowded),
    }
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
