"""The checkpoints, kernels and processes of benchmarks: weights of their own in every tensor, as in
every trained model. ONNX Runtime holds equal ones once, and caches make them look fast."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the checkpoints are written by the export's layouts")

from safetensors.numpy import save_file
from safetensors.torch import load_file

from benchmarks import kernels, published
from benchmarks.compare import check_memory
from benchmarks.configs import MIMI, PUBLISHED
from kyutai_onnx.conversion.checkpoint.config import LMConfig, MimiConfig
from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes, mimi_shapes

SMALL = {"dim": 64, "num_layers": 3, "num_heads": 4, "depformer_dim": 32, "text_card": 100}
START = 16
"""Numbers of a tensor that are compared after its scale is taken off."""


def written(shapes: dict[str, tuple[int, ...]], path: Path, width: int) -> dict[str, np.ndarray]:
    published.write_safetensors(path, published.stacked(shapes), width)
    return {name: tensor.float().numpy().ravel() for name, tensor in load_file(path).items()}


def assert_distinct(tensors: dict[str, np.ndarray]) -> None:
    """No tensor begins as another does, at any scale."""
    starts = sorted(
        tuple(np.round(values[:START] / values[0], 1)) for values in tensors.values() if len(values)
    )
    long = [start for start in starts if len(start) == START]
    assert len(long) > len(tensors) // 2
    assert all(one != other for one, other in pairwise(long))
    assert len({values.tobytes() for values in tensors.values()}) == len(tensors)


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_two_tensors_of_a_language_model_are_equal(name: str, tmp_path: Path) -> None:
    config = LMConfig.from_json(PUBLISHED[name] | SMALL)
    assert_distinct(written(lm_shapes(config), tmp_path / "model.safetensors", 2))


def test_no_two_tensors_of_the_codec_are_equal(tmp_path: Path) -> None:
    shapes = {
        name: tuple(min(extent, 64) for extent in shape)
        for name, shape in mimi_shapes(MimiConfig.default()).items()
    }
    assert_distinct(written(shapes, tmp_path / MIMI, 4))


def test_a_large_tensor_does_not_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "BLOCK", 1000)
    values = written({"weight": (64, 64)}, tmp_path / "model.safetensors", 4)["weight"]
    blocks = [values[start : start + 1000].tobytes() for start in range(0, 4000, 1000)]
    assert len(set(blocks)) == 4


def test_the_same_name_gives_the_same_numbers(tmp_path: Path) -> None:
    one = written({"a": (8, 8), "b": (8, 8)}, tmp_path / "one.safetensors", 4)
    other = written({"b": (8, 8)}, tmp_path / "other.safetensors", 4)
    np.testing.assert_array_equal(one["b"], other["b"])


def test_a_checkpoint_of_repeated_numbers_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"encoder.weight": (4, 4), "decoder.weight": (4, 4)}
    monkeypatch.setattr(published, "mimi_shapes", lambda _: weights)
    monkeypatch.setattr(published, "lm_shapes", lambda _: {"transformer.weight": (4, 4)})
    few_pieces = published.PUBLISHED["stt-1b-en_fr"] | {"text_card": 200}
    monkeypatch.setitem(published.PUBLISHED, "stt-1b-en_fr", few_pieces)
    folder = published.write_published("stt-1b-en_fr", tmp_path)
    kept = (folder / MIMI).read_bytes()
    save_file(dict.fromkeys(weights, np.ones((4, 4), np.float32)), folder / MIMI)
    published.write_published("stt-1b-en_fr", tmp_path)
    assert (folder / MIMI).read_bytes() == kept


def test_another_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert published.write_published("stt-1b-en_fr", tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_no_two_layers_of_a_timed_kernel_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "INPUTS", 256)
    monkeypatch.setattr(kernels, "OUTPUTS", 32)
    for product in kernels.products():
        (_, first), (_, second) = product.node("first"), product.node("second")
        for one, other in zip(first, second, strict=True):
            assert one.raw_data != other.raw_data, product.name


def test_the_layers_of_a_timed_kernel_are_larger_than_a_cache() -> None:
    for product in kernels.products():
        size = product.layers * product.bits * kernels.INPUTS * kernels.OUTPUTS // 8
        assert kernels.HELD <= size < 2 << 30, product.name


def test_a_process_that_holds_less_than_its_weights_is_refused() -> None:
    row = {"engine": "kyutai-onnx int4", "weights_mb": 516.0}
    check_memory(row | {"held_mb": 620.0})
    with pytest.raises(RuntimeError, match="156 MB"):
        check_memory(row | {"held_mb": 156.0})
