"""The files that a command passes through: those of ours with a function that runs.

python -m benchmarks.roads                       count both roads of docs/architecture.md
python -m benchmarks.roads transcribe speech.wav  list the files of one command
"""

import subprocess
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from kyutai_onnx import cli
from kyutai_onnx.cli.main import run
from kyutai_onnx.models.resolve import SAMPLES

RECORDING = str(SAMPLES / "train.flac")
ROADS = (
    ["transcribe", "--quiet", RECORDING],
    ["stream", "--quiet", "--input-file", RECORDING],
)
OURS = Path(cli.__file__).parents[1]
FUNCTION = 2
"""The flag of code that runs when a function is called, and not of a module or a class."""


class Passed:
    """A profiler that notes the files of the functions that are called, in all threads."""

    def __init__(self) -> None:
        self._codes: set[CodeType] = set()

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self._codes.add(frame.f_code)

    @property
    def files(self) -> list[str]:
        """The files below our package, in order."""
        functions = (code for code in self._codes if code.co_flags & FUNCTION)
        files = {Path(code.co_filename) for code in functions}
        return sorted(str(file.relative_to(OURS)) for file in files if file.is_relative_to(OURS))


def passed(arguments: list[str]) -> list[str]:
    """Run a command in this process and return the files that it passed through."""
    found = Passed()
    threading.setprofile(found.note)
    sys.setprofile(found.note)
    try:
        code = run(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        raise SystemExit(code)
    return found.files


def count(arguments: list[str]) -> int:
    """Count the files of a command, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.roads", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return len(done.stderr.splitlines())


def main() -> None:
    if len(sys.argv) == 1:
        for road in ROADS:
            print(f"{road[0]} {count(road)}")
        return
    print(*passed(sys.argv[1:]), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
