"""Engines in processes of their own, each peer in an environment with its pinned releases."""

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
TORCH = "torch==2.13.0"
PINS: dict[str, list[list[str]]] = {
    "moshi": [
        [TORCH, "numpy", "einops", "huggingface-hub", "safetensors", "sentencepiece", "tqdm"],
        ["--no-deps", "moshi==0.2.13"],
    ],
    "rustymimi": [["rustymimi==0.4.1", "numpy"]],
    "transformers": [[TORCH, "transformers==5.23.0", "numpy"]],
}
"""What each peer's environment is made of, one installation after the other."""


def interpreter(peer: str, work: Path) -> str:
    """The Python of a peer's environment, which is made the first time; our own for ours."""
    if peer not in PINS:
        return sys.executable
    folder = work / "peers" / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        for packages in PINS[peer]:
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "complete").touch()
    return str(python)


@dataclass
class Engine:
    """An engine that runs, and what it reported so far: seconds of each part of each frame."""

    name: str
    process: subprocess.Popen[str]
    reported: dict[str, Any] = field(default_factory=dict)
    frames: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, peer: str, words: list[str], work: Path, threads: int) -> Self:
        """Starts `benchmarks.engines.PEER` with these words; raises RuntimeError if it ends."""
        command = [interpreter(peer, work), "-m", f"benchmarks.engines.{peer}", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        engine = cls(name, process)
        engine.reported = engine._answer()
        return engine

    def step(self, frames: int, *, counted: bool = True) -> None:
        """Steps so many frames, which enter the figures if they are `counted`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{frames}\n")
        self.process.stdin.flush()
        answer = self._answer()
        frames = answer.pop("frames")
        self.reported |= answer
        if counted:
            self.frames += frames

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        return json.loads(line)
