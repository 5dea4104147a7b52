"""Shards of data, each made by a process of its own, two at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

Write = Callable[[Path, str], None]


def build_missing(write: Write, work: Path, folder: str, names: Iterable[str]) -> None:
    """Calls `build` for the names without an npz file in a folder of `work`."""
    (work / folder).mkdir(exist_ok=True)
    build(write, work, [name for name in names if not (work / folder / f"{name}.npz").exists()])


def build(write: Write, where: Path, names: Iterable[str]) -> None:
    """Calls `write(where, name)` for every name."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for job in [pool.submit(write, where, name) for name in names]:
            job.result()
