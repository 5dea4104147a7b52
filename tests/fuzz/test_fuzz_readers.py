"""Files of strangers, broken in a few places: their readers raise one line, and nothing else.

Each reader is given a few hundred files, always the same; `KYUTAI_ONNX_FUZZ=1000000` makes it that
many others.
"""

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from support.mutations import EXAMPLES
from support.readers import Reader, changed, export_readers, runtime_readers

from kyutai_onnx.runtime.errors import KyutaiOnnxError

Make = Callable[[Path], list[Reader]]


def fuzz(reader: Reader, folder: Path, seed: int, count: int) -> int:
    """Gives a reader so many broken files; returns how many it took for whole."""
    chance = random.Random(seed)
    path, taken = folder / reader.name, 0
    for _ in range(count):
        path.write_bytes(changed(chance, chance.choice(reader.seeds)))
        try:
            reader.read(path)
            taken += 1
        except KyutaiOnnxError as error:
            assert "\n" not in str(error), str(error)  # noqa: PT017
    return taken


@pytest.mark.parametrize("make", [runtime_readers, export_readers])
def test_broken_files_are_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    if make is export_readers:
        pytest.importorskip("torch", reason="the export needs torch")
    (tmp_path / "seeds").mkdir()
    for reader in make(tmp_path / "seeds"):
        folder = tmp_path / reader.name
        folder.mkdir()
        seed = random.randrange(2**32) if EXAMPLES else 5
        for whole in reader.seeds:
            (folder / reader.name).write_bytes(whole)
            reader.read(folder / reader.name)
        with warnings.catch_warnings():
            fuzz(reader, folder, seed, EXAMPLES or 100)
