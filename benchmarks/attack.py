"""What attacks do to a server, and to those who use it meanwhile.

    python -m benchmarks.attack --json found.json
    python -m benchmarks.attack --only crafted-mp3s,opus --seconds 6
    python -m benchmarks.attack --python /elsewhere/bin/python --json before.json
    python -m benchmarks.attack --compare before.json found.json
    python -m benchmarks.attack --list

Each attack has a `kyutai-onnx serve` of its own on loopback, with the demos and default limits, and
ends after `--seconds`. Its clients are in a process of low priority, since they stand for other
machines. `--only` takes names or parts of names; `--python` starts the server by another
interpreter, such as one with an older version of this package. Meanwhile, each in a process of its
own:

- a prober asks `/health` every 20 ms on a new connection. While an answer takes longer, those that
  would have been asked for meanwhile count too, with the time that they would have waited. Other
  answers than 200 count as failed, as does none within 5 s;
- two witnesses send a recording at the pace of speech to `/api/asr-streaming`. Their words are
  compared with those of a stream alone, and the lag of each is measured as in
  `benchmarks.serving`;
- a bystander opens the page four times a second, and posts a recording every 1.5 s.

All is measured from the start of the attack until the witnesses are done, three seconds after its
end; "idle" is the two seconds before. Memory is of the server and its child processes, a shared
page counted once (PSS): before, at its peak, and at the end.

To check a fix: run the attack that it is for with `--only`, and read its row. The exit code is 1 if
the server died, or if a witness lost words.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .attack_tables import as_markdown, compared
from .attacks import ATTACKS, Attack
from .attacks.clients import connection
from .attacks.prober import EVERY
from .attacks.settings import FILES, KEY, arguments_of, certificate_of
from .memory import family, family_mb
from .peers import ROOT
from .served import PATIENCE, ServedProcess, cpu_seconds
from .serving import Reference, lags_of, references
from .serving_clients import START_SECONDS, Plan

WITNESSES = 2
IDLE_SECONDS, REST_SECONDS = 2.0, 3.0
GRACE_SECONDS = 3.0
"""For the process of the attack to end after its time."""
SAMPLE_SECONDS = 0.1
UPLOADED = "the train to boston leaves at nine fifty"


@dataclass(frozen=True)
class Timing:
    """Times of answers in milliseconds, and how many did not come or were not as they should be."""

    p50: float
    p99: float
    worst: float
    count: int
    failed: int


@dataclass(frozen=True)
class Memory:
    """Megabytes."""

    before: float
    peak: float
    after: float


@dataclass(frozen=True)
class Result:
    """What an attack did. `lag` is in milliseconds; `lost` are witnesses whose words differ or who
    were cut off, with the reason; `statuses` is what the attacker got. `load` is the load average
    of the machine before."""

    name: str
    text: str
    load: float
    idle: Timing
    health: Timing
    lag: Timing
    lost: list[str]
    uploads: Timing
    pages: Timing
    memory: Memory
    cpu_seconds: float
    statuses: dict[str, int]
    tracebacks: int
    log_bytes: int
    output_bytes: int
    died: str | None
    attacker_error: str | None

    @property
    def passed(self) -> bool:
        """Whether the server lives and no witness lost words."""
        return not self.died and not self.lost


class Meter(threading.Thread):
    """Samples memory and processor time of a server with its children until it is stopped."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process, self._done = process, threading.Event()
        self._spent: dict[int, float] = {}
        self.megabytes: list[float] = []

    def run(self) -> None:
        while not self._done.is_set():
            self.sample()
            self._done.wait(SAMPLE_SECONDS)

    def sample(self) -> float:
        """Look once; the memory."""
        for one in family(self._process):
            with contextlib.suppress(OSError):
                self._spent[one] = cpu_seconds(one)
        self.megabytes.append(family_mb(self._process))
        return self.megabytes[-1]

    @property
    def seconds(self) -> float:
        return sum(self._spent.values())

    def stop(self) -> None:
        self._done.set()
        self.join()


class Helper:
    """A module of `benchmarks` in a process of its own, which answers when its input ends."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        env = {**os.environ, **environment}
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)  # type: ignore[call-overload]

    def give(self, reported: object) -> None:
        """Send its input, which ends it unless it is to go on."""
        json.dump(reported, self._process.stdin)
        self._process.stdin.close()
        self._process.stdin = None

    def answer(self, seconds: float) -> Any:
        """End its input and read its answer; None if it has to be killed."""
        try:
            found, _ = self._process.communicate(timeout=seconds)
            return json.loads(found) if found else None
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def helpers(*made: Helper) -> Iterator[None]:
    """Processes that are ended in any case."""
    try:
        yield
    finally:
        for helper in made:
            helper.kill()


def slots_used(server: ServedProcess) -> int:
    client = connection(server.url, PATIENCE)
    with contextlib.closing(client):
        client.request("GET", "/ready")
        return sum(model["used"] for model in json.loads(client.getresponse().read())["models"])


class Trial:
    """One attack on a server of its own."""

    def __init__(self, attack: Attack, seconds: float, known: Sequence[Reference]) -> None:
        self._attack, self._seconds, self._known = attack, seconds, known
        self._length = talk_seconds(seconds)

    def run(self, python: str) -> Result:
        """Start all, attack, and gather what they saw."""
        load = os.getloadavg()[0]
        with TemporaryDirectory() as name:
            folder = Path(name)
            log, output = folder / "log", folder / "output"
            arguments = arguments_of(self._attack.server, folder)
            files = FILES.get(self._attack.server)
            server = ServedProcess(log, *arguments, python=python, output=output, files=files)
            try:
                found = self._measured(server, folder)
            finally:
                died = ended(server)
            text = log.read_text("utf-8", "replace")
            return Result(
                name=self._attack.name,
                text=self._attack.text,
                load=load,
                tracebacks=text.count("Traceback (most recent"),
                log_bytes=len(text),
                output_bytes=output.stat().st_size,
                died=died,
                **found,
            )

    def _measured(self, server: ServedProcess, folder: Path) -> dict[str, Any]:
        key = KEY if self._attack.server == "keys" else None
        trusted = {"SSL_CERT_FILE": str(certificate_of(folder))}
        environment = trusted if self._attack.server == "tls" else {}
        plan = Plan(server.url, WITNESSES, WITNESSES, self._length, key=key)
        witnesses = Helper("serving_clients", **environment)
        witnesses.give(dataclasses.asdict(plan))
        prober = Helper("attacks.prober", server.url)
        bystanders = Helper("attacks.bystanders", server.url, *([] if key is None else [key]))
        attacker = Helper("attacks")
        meter = Meter(server.pid)
        with helpers(witnesses, prober, bystanders, attacker):
            until_witnessed(server)
            meter.start()
            time.sleep(START_SECONDS + IDLE_SECONDS)
            before, spent, began = meter.sample(), meter.seconds, time.monotonic()
            attacker.give(
                {
                    "name": self._attack.name,
                    "port": server.port,
                    "wyoming_port": server.wyoming_port,
                    "pid": server.pid,
                    "seconds": self._seconds,
                }
            )
            reported = attacker.answer(self._seconds + GRACE_SECONDS)
            seen = witnesses.answer(self._length + PATIENCE)
            probes = prober.answer(PATIENCE)
            others = bystanders.answer(PATIENCE)
            after = meter.sample()
            meter.stop()
        lag, lost = witnessed(seen, self._known)
        return {
            "idle": health([probe for probe in probes if began - IDLE_SECONDS < probe[0] < began]),
            "health": health([probe for probe in probes if probe[0] >= began - EVERY]),
            "lag": lag,
            "lost": lost,
            "uploads": answers(others["uploads"], began, UPLOADED),
            "pages": answers(others["pages"], began, ""),
            "memory": Memory(before, max(meter.megabytes), after),
            "cpu_seconds": meter.seconds - spent,
            "statuses": {} if reported is None else reported["statuses"],
            "attacker_error": "did not end" if reported is None else reported["error"],
        }


def until_witnessed(server: ServedProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while slots_used(server) < WITNESSES:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the witnesses do not come: {server.log}")
        time.sleep(0.05)


def ended(server: ServedProcess) -> str | None:
    """Stop a server; what is wrong with how it ended."""
    if not server.alive:
        return f"the server ended: {server.log[-500:]}"
    try:
        server.stop()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"the server does not stop: {str(error)[-500:]}"
    return None


def talk_seconds(seconds: float) -> float:
    """For how long witnesses speak."""
    return IDLE_SECONDS + seconds + REST_SECONDS


def health(probes: Sequence[tuple[float, float, bool]]) -> Timing:
    """Of the answers that came, with those that were not asked for while one took its time."""
    took: list[float] = []
    for _, seconds, well in probes:
        if well or seconds >= 1:
            took += np.arange(seconds, 0, -EVERY).tolist()
    return timing(took, sum(not well for *_, well in probes))


def answers(found: Sequence[tuple[float, float, int, str]], began: float, text: str) -> Timing:
    """Of those that were asked for during the attack, or awaited when it began."""
    reported = [answer for answer in found if answer[0] + answer[1] >= began]
    bad = sum(status != 200 or said != text for _, _, status, said in reported)
    return timing([seconds for _, seconds, status, _ in reported if status in (0, 200)], bad)


def timing(seconds: Sequence[float], failed: int = 0) -> Timing:
    if not seconds:
        return Timing(0.0, 0.0, 0.0, 0, failed)
    p50, p99, worst = (float(1e3 * value) for value in np.percentile(seconds, (50, 99, 100)))
    return Timing(p50, p99, worst, len(seconds), failed)


def witnessed(reported: Any, known: Sequence[Reference]) -> tuple[Timing, list[str]]:
    """The lag of all words, and what is wrong with each witness that lost some."""
    if reported is None:
        return timing([]), ["the witnesses were cut off"]
    lags: list[float] = []
    lost = []
    for speaker in reported["speakers"]:
        reference = known[speaker["talk"]]
        lags += lags_of(speaker, reference)
        words, recognized = (
            [text for text, _ in speaker["words"]],
            [w.text for w in reference.recognized],
        )
        if speaker["error"]:
            lost.append(f"{len(words)} of {len(recognized)} words, then {speaker['error']}")
        elif words != recognized:
            right = next(
                (n for n, (a, b) in enumerate(zip(words, recognized, strict=False)) if a != b), 0
            )
            lost.append(f"{len(words)} of {len(recognized)} words, other ones from word {right}")
    return timing(lags), lost


def chosen(only: Sequence[str]) -> list[Attack]:
    """The attacks whose names contain any of these, all if there are none."""
    parts = [part for given in only for part in given.split(",") if part]
    unknown = [part for part in parts if not any(part in name for name in ATTACKS)]
    if unknown:
        raise SystemExit(f"no attack is called {unknown[0]!r}: see '--list'")
    return [a for a in ATTACKS.values() if not parts or any(part in a.name for part in parts)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="names, or parts of them")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each attack, 15 at most")
    parser.add_argument("--python", default=sys.executable, help="starts the server")
    parser.add_argument("--json", type=Path, help="keeps what was found, after each attack")
    parser.add_argument("--list", action="store_true", help="names the attacks")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    given = parser.parse_args()
    if given.list:
        print("\n".join(f"{attack.name:28}{attack.text}" for attack in ATTACKS.values()))
        return
    if given.compare:
        print(compared(*(json.loads(path.read_text()) for path in given.compare)))
        return
    seconds = min(given.seconds, 15.0)
    known = references(None, WITNESSES, talk_seconds(seconds))
    results: list[Result] = []
    for attack in chosen(given.only):
        results.append(Trial(attack, seconds, known).run(given.python))
        found = [{**dataclasses.asdict(one), "passed": one.passed} for one in results]
        print(as_markdown(found[-1:], head=len(results) == 1), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    sys.exit(not all(one.passed for one in results))


if __name__ == "__main__":
    main()
