"""The command line run in this process, which is quick, or in one of its own, as a user does."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kyutai_onnx.cli.main import run


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def plain(self) -> str:
        """Stdout without the colours that help has on some machines."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.out)

    @property
    def error(self) -> str:
        """The only line on stderr, which must be an error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


Command = Callable[..., Result]


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Result(code, out, err)


def command_line(*arguments: object) -> list[str]:
    """What starts the installed `kyutai-onnx` in a process of its own."""
    program = shutil.which("kyutai-onnx", path=Path(sys.executable).parent)
    assert program is not None
    return [program, *map(str, arguments)]


def run_apart(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> Result:
    """Runs a command in a process of its own, its output taken as text."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **(env or {})}
    done = subprocess.run(
        command_line(*arguments),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=environment,
        timeout=120,
        check=False,
        **options,
    )
    out, err = (
        (taken or b"").decode().replace("\r\n", "\n") for taken in (done.stdout, done.stderr)
    )
    return Result(done.returncode, out, err)


def size_so_far(path: Path) -> int:
    """Bytes of a file that a command writes: beside its target, until it is whole."""
    parts = path.parent.glob(f"{path.name}.*.part") if path.parent.is_dir() else ()
    sizes = [0]
    for file in (path, *parts):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return max(sizes)
