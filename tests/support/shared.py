"""What is made once for all workers of a run, by whichever needs it first."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock


class Shared:
    """A folder that all workers of a run see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """The path of this name, which `make` fills in the first worker that asks for it; others
        wait until it is whole."""
        made = self._folder / name
        with FileLock(f"{made}.lock"):
            done = made.with_name(f"{name}.made")
            if not done.exists():
                shutil.rmtree(made, ignore_errors=True)
                done.write_bytes(pickle.dumps(make(made)))
        return made

    def result(self, name: str) -> Any:
        """What `make` returned."""
        return pickle.loads((self._folder / f"{name}.made").read_bytes())


def shared_folder(own: Path) -> Path:
    """Beside the workers' own folders, if there are workers."""
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
