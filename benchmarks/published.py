"""Checkpoints of the published sizes with random weights, written a tensor at a time.

    python -m benchmarks.published stt-1b-en_fr FOLDER

The dimensions are those of Kyutai's own configurations. The numbers are noise of each tensor's own,
seeded by its name, as no two tensors of a trained model are equal: ONNX Runtime holds equal packed
weights once, and a processor's caches then serve what a real model reads from memory.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kyutai_onnx.conversion.checkpoint.config import LMConfig, MimiConfig
from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes, mimi_shapes
from tests.support.checkpoints import transformers_mimi
from tests.support.voices import spell_tokenizer

from .configs import MIMI, PUBLISHED, TRANSFORMERS_MIMI, Config

Shape = tuple[int, ...]
BLOCK = 1 << 22


def write_published(name: str, folder: Path) -> Path:
    """Writes the checkpoint, unless one exists that does not repeat itself; returns its folder."""
    codec = folder / MIMI
    if (folder / "config.json").is_file() and not (codec.is_file() and repeats(codec)):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    mimi = stacked(mimi_shapes(MimiConfig.default()))
    write_safetensors(folder / MIMI, mimi, 4)
    if name == "mimi":
        config = write_transformers_mimi(folder)
    else:
        config = PUBLISHED[name]
        shapes = stacked(lm_shapes(LMConfig.from_json(config)))
        write_safetensors(folder / "model.safetensors", shapes, 2)
        spell_tokenizer(folder / "tokenizer.model", int(str(config["text_card"])))
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def write_transformers_mimi(folder: Path) -> Config:
    """The same codec as kyutai/mimi holds it, which is transformers' form."""
    heads = MimiConfig.default().transformer.num_heads
    mimi = transformers_mimi(load_file(folder / MIMI), heads)
    save_file(
        {name: value.contiguous() for name, value in mimi.items()}, folder / "model.safetensors"
    )
    return TRANSFORMERS_MIMI


def stacked(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Names and shapes as Kyutai publishes them: projections of all sets in one, by rows, and the
    weights of norms `[1, 1, dim]`."""
    written: dict[str, Shape] = {}
    for name, shape in shapes.items():
        head, found, _ = name.partition("_projs.")
        if found:
            whole = f"{head}_proj" + ("_weight" if head.endswith("in") else ".weight")
            rows = written.get(whole, (0,))[0]
            written[whole] = (rows + shape[0], *shape[1:])
        else:
            written[name] = (1, 1, *shape) if name.endswith(".alpha") else shape
    return written


def repeats(path: Path) -> bool:
    """Whether two tensors of a codec begin alike, as in those that were once written here."""
    with safe_open(path, "np") as file:
        parts = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
        starts = [part[:1].tobytes() for part in parts if len(part.get_shape()) > 1]
    return len(set(starts)) < len(starts)


def write_safetensors(path: Path, shapes: Mapping[str, Shape], width: int) -> None:
    """Writes a safetensors file of random numbers, bfloat16 (`width` 2) or float32 (4)."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * width
        dtype = "BF16" if width == 2 else "F32"
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            _write_tensor(file, name, shape, width)


def _write_tensor(file: BinaryIO, name: str, shape: Shape, width: int) -> None:
    file.writelines(
        (part.view(np.uint32) >> 16).astype("<u2") if width == 2 else part
        for part in _values(name, shape)
    )


def _values(name: str, shape: Shape) -> Iterator[np.ndarray]:
    """Norms around 1, usages positive, all else scaled so that activations keep their size."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest(), "little")
    noise = np.random.Generator(np.random.SFC64(seed))
    count = math.prod(shape)
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
    for start in range(0, count, BLOCK):
        values = noise.standard_normal(min(BLOCK, count - start), np.float32)
        if name.endswith(("alpha", "usage", "_initialized")) or ".norm" in name:
            yield np.ones_like(values) + 0.1 * values
        else:
            yield values * np.float32(0.1 if len(shape) == 1 else fan_in**-0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["mimi", *PUBLISHED])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(write_published(arguments.name, arguments.folder))
