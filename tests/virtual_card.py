"""A sound card of software: a PulseAudio of the tests' own with null sinks, which PortAudio sees as
devices `headset` (a microphone) and `loudspeaker`."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from commands import command_line
from speech import RATE, Array, write_wav

PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
DEVICES = """
pcm.headset { type pulse device vmic }
pcm.loudspeaker { type pulse device spk }
"""
SETTLE_SECONDS = 3.0
"""A null sink that nobody listened to takes up to two seconds to bring its first sound."""


class VirtualCard:
    """Runs while it is entered, with sinks at `rate`."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.folder, self._rate = folder, rate
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
        rate = f"rate={self._rate}"
        self._run("pactl", "load-module", "module-null-sink", "sink_name=spk", rate, "channels=2")
        self._run("pactl", "load-module", "module-null-sink", "sink_name=mic", rate, "channels=2")
        self._run(
            *("pactl", "load-module", "module-remap-source", "source_name=vmic"),
            "master=mic.monitor",
        )
        with suppress(OSError, ValueError):  # only root may
            os.setpriority(os.PRIO_PROCESS, self._pid, -11)

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Ends the sound server: both devices are gone."""
        pid = self._pid
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)

    def say(self, recording: Path) -> None:
        """Speaks a recording into the microphone; returns at its end."""
        self._run("paplay", "--device=mic", "--latency-msec=50", str(recording))

    @contextmanager
    def recorded(self) -> Iterator[list[Array]]:
        """What the speaker plays meanwhile, mono at the demo's rate, once the block has ended."""
        raw, heard = self.folder / "heard.raw", list[Array]()
        with raw.open("wb") as out:
            program = ["parec", "--device=spk.monitor", f"--rate={RATE}", "--channels=1"]
            process = subprocess.Popen(
                [*program, "--format=float32le", "--latency-msec=20"], stdout=out, env=self.env
            )
            try:
                time.sleep(SETTLE_SECONDS)
                yield heard
                time.sleep(0.5)
            finally:
                process.terminate()
                process.wait(10)
        heard.append(np.fromfile(raw, np.float32))

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A `kyutai-onnx` on this card, with pipes."""
        with subprocess.Popen(
            command_line(*arguments),
            env=self.env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
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


def place(heard: Array, said: Array) -> int:
    """The sample of what was heard at which what was said begins, where it fits best."""
    size = 1 << (len(heard) + len(said)).bit_length()
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    return int(np.argmax(np.fft.irfft(product, size)[: len(heard)]))


def likeness(heard: Array, said: Array) -> float:
    """The correlation of what was said with what was heard, where it fits best."""
    best = place(heard, said)
    piece = heard[best : best + len(said)]
    return float(np.corrcoef(piece, said[: len(piece)])[0, 1]) * len(piece) / len(said)
