"""Reads .npz files whole, so that none stays open."""

import os
from typing import Any, BinaryIO

import numpy as np


def arrays(source: str | os.PathLike[str] | BinaryIO) -> dict[str, np.ndarray[Any, Any]]:
    """Every array of the file by its name."""
    with np.load(source, allow_pickle=False) as file:
        return dict(file)
