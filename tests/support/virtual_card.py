"""A sound card of software: a PulseAudio of the tests' own with null sinks, which PortAudio sees as
devices `headset` (a microphone) and `loudspeaker`."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from support.commands import command_line, size_so_far
from support.speech import RATE, Array, write_wav
from support.waiting import PATIENCE_SECONDS, until

PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
DEVICES = """
pcm.headset { type pulse device vmic }
pcm.loudspeaker { type pulse device spk }
"""


class Program:
    """A program on a card, whose output goes to files, so that it can be read while it runs."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self._folder = process, folder

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text()

    def records_into(self, saved: Path) -> None:
        """Returns once a second of sound has come since the call, as `--save-input` shows it."""
        before = size_so_far(saved)
        until(lambda: size_so_far(saved) > before + RATE * 2 or self._has_ended())

    def says(self, line: str) -> None:
        """Returns once the program has written this on either output."""
        until(lambda: line in self.out or line in self.err or self._has_ended())

    def end(self, code: int, given: str = "") -> None:
        """Gives it the rest of its input, and waits for its end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(given)
            self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == code, self.err

    def interrupt(self) -> None:
        """Ends it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE_SECONDS) == 130, self.err

    def _has_ended(self) -> bool:
        assert self.process.poll() is None, self.err
        return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class VirtualCard:
    """Runs while it is entered, with sinks at `rate`."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.folder, self._rate = folder, rate
        self._keepers: list[subprocess.Popen[bytes]] = []
        home = folder / "home"
        home.mkdir(mode=0o700, parents=True)
        (home / ".asoundrc").write_text(DEVICES)
        (home / "client.conf").write_text("autospawn = no\n")
        self.env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(home),
            "PULSE_CLIENTCONFIG": str(home / "client.conf"),
            "PULSE_SINK": "spk",
            "PULSE_SOURCE": "vmic",
        }

    def __enter__(self) -> "VirtualCard":
        self.folder.chmod(0o700)
        self.plug()
        return self

    def plug(self) -> None:
        """Starts the sound server: both devices appear."""
        self._run(
            *("pulseaudio", "-n", "-D", "--exit-idle-time=-1", "--disallow-exit"),
            *("-L", "module-native-protocol-unix", f"--log-target=file:{self.folder / 'log'}"),
        )
        hurry(self._pid)
        rate = f"rate={self._rate}"
        self._run("pactl", "load-module", "module-null-sink", "sink_name=spk", rate, "channels=2")
        self._run("pactl", "load-module", "module-null-sink", "sink_name=mic", rate, "channels=2")
        self._run(
            *("pactl", "load-module", "module-remap-source", "source_name=vmic"),
            "master=mic.monitor",
        )
        for monitor in ("spk.monitor", "mic.monitor"):
            self._keep_awake(monitor)

    def _keep_awake(self, monitor: str) -> None:
        """Listens for as long as the card runs: a sink that nobody listens to brings its first
        sound seconds late."""
        raw = self.folder / monitor
        raw.unlink(missing_ok=True)
        self._keepers.append(self._recorder(monitor, raw))
        until(lambda: _size(raw) > 0)

    def _recorder(self, monitor: str, raw: Path) -> "subprocess.Popen[bytes]":
        program = ["parec", f"--device={monitor}", f"--rate={RATE}", "--channels=1"]
        with raw.open("wb") as out:
            return subprocess.Popen(
                [*program, "--format=float32le", "--latency-msec=20"], stdout=out, env=self.env
            )

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Ends the sound server: both devices are gone."""
        pid = self._pid
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}").exists())
        while self._keepers:
            self._keepers.pop().wait(PATIENCE_SECONDS)

    def say(self, recording: Path) -> None:
        """Speaks a recording into the microphone; returns at its end."""
        self._run("paplay", "--device=mic", "--latency-msec=1000", str(recording))

    def play_on(self, seconds: float) -> None:
        """Returns once the speaker has played so much more."""
        raw = self.folder / "spk.monitor"
        end = _size(raw) + seconds * RATE * 4
        until(lambda: _size(raw) > end)

    def listeners(self, source: str) -> int:
        """How many programs have a microphone open."""
        numbers = {row[1]: row[0] for row in self._list("sources")}
        return sum(row[1] == numbers[source] for row in self._list("source-outputs"))

    def _list(self, kind: str) -> list[list[str]]:
        return [row.split("\t") for row in self._run("pactl", "list", "short", kind).splitlines()]

    @contextmanager
    def recorded(self) -> Iterator[list[Array]]:
        """What the speaker plays meanwhile, mono at the demo's rate, once the block has ended."""
        raw, captured = self.folder / "heard.raw", list[Array]()
        raw.unlink(missing_ok=True)
        process = self._recorder("spk.monitor", raw)
        try:
            until(lambda: _size(raw) > 0)
            yield captured
            self.play_on(1.0)  # more than any device holds
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
        captured.append(np.fromfile(raw, np.float32))

    @contextmanager
    def running(self, *arguments: object) -> Iterator[Program]:
        """A `kyutai-onnx` on this card."""
        with self.program(*command_line(*arguments)) as program:
            yield program

    @contextmanager
    def program(self, *command: str) -> Iterator[Program]:
        """Any program on this card, which is ended with the block."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        with (
            (folder / "out").open("w") as out,
            (folder / "err").open("w") as err,
            subprocess.Popen(
                command, env=self.env, text=True, stdin=subprocess.PIPE, stdout=out, stderr=err
            ) as process,
        ):
            hurry(process.pid)
            try:
                yield Program(process, folder)
            finally:
                process.kill()

    @property
    def _pid(self) -> int:
        return int((self.folder / "pulse" / "pid").read_text())

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout


def hurry(pid: int) -> None:
    """Lets a process go before others, as sound servers do: only root may."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -11)


def require() -> None:
    """Skips the test where a card cannot be made of software."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]


def padded(path: Path, pcm: Array, before: float, after: float) -> Path:
    """A recording with rest around it."""
    rests = (np.zeros(round(seconds * RATE), np.float32) for seconds in (before, after))
    first, last = rests
    return write_wav(path, np.concatenate([first, pcm, last]))


def place(captured: Array, said: Array) -> int:
    """The sample of what was heard at which what was said begins, where it fits best."""
    size = 1 << (len(captured) + len(said)).bit_length()
    product = np.fft.rfft(captured, size) * np.conj(np.fft.rfft(said, size))
    return int(np.argmax(np.fft.irfft(product, size)[: len(captured)]))


def likeness(captured: Array, said: Array) -> float:
    """The correlation of what was said with what was heard, where it fits best."""
    best = place(captured, said)
    piece = captured[best : best + len(said)]
    return float(np.corrcoef(piece, said[: len(piece)])[0, 1]) * len(piece) / len(said)
