"""What a formula makes of the tensors of a checkpoint."""

from collections.abc import Mapping

import numpy as np
import pytest
from support.speech import Array

from kyutai_onnx.conversion.filling.formula import (
    Evaluation,
    Formula,
    dump_formula,
    joined,
    parse_formula,
    quantized,
    quantized_by,
    read,
)
from kyutai_onnx.conversion.filling.quantize import BlockFormat, pack, unpack
from kyutai_onnx.runtime.errors import ModelError

TABLE = np.arange(24, dtype=np.float32).reshape(6, 4)
INT4 = BlockFormat(4, 32, symmetric=False)


class Arrays:
    """Tensors in float32, and which of them were read."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors
        self.reads: list[str] = []

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def dtype(self, name: str) -> str:
        return "F32"

    def read(self, name: str, rows: slice | None = None) -> Array:
        self.reads.append(name)
        return self._tensors[name] if rows is None else self._tensors[name][rows]


def value(formula: Formula, **tensors: Array) -> Array:
    """The tensor of a formula, after it was written down, the same as its pieces."""
    written = parse_formula(dump_formula(formula))
    assert written == formula
    whole = Evaluation(Arrays(tensors)).value(formula)
    pieces = list(Evaluation(Arrays(tensors)).pieces(written))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    return whole


def test_rows_are_joined_reordered_and_padded() -> None:
    parts = (read("a").rows(1, 3), read("b").padded(1))
    found = value(joined(*parts), a=TABLE, b=-TABLE)
    np.testing.assert_array_equal(found[:2], TABLE[1:3])
    np.testing.assert_array_equal(found[2:8], -TABLE)
    np.testing.assert_array_equal(found[8], 0)
    turned = value(read("a").reshaped(2, 3, 4).transposed(2, 0, 1), a=TABLE)
    np.testing.assert_array_equal(turned, TABLE.reshape(2, 3, 4).transpose(2, 0, 1))


def test_a_scale_of_one_is_nothing() -> None:
    assert read("a").scaled(1) == read("a")
    np.testing.assert_array_equal(value(read("a").scaled(0.5), a=TABLE), TABLE / 2)


def test_what_16_bits_do_not_hold_is_not_halved() -> None:
    assert value(read("a").then("halve"), a=TABLE).dtype == np.float16
    with pytest.raises(ModelError, match="float16"):
        value(read("a").then("halve"), a=np.array([65520.0, 2.0**-25], np.float32))


def test_pairs_become_halves_of_a_head_and_what_does_not_turn_stays() -> None:
    weight = np.arange(10, dtype=np.float32)[:, None]
    found = value(read("a").then("halves", 2, 4), a=weight)
    assert found[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7, 8, 9]


def test_a_codebook_is_its_sums_over_its_usage() -> None:
    usage = np.array([2, 0], np.float32)
    sums = np.array([[2, 4], [0, 1e-5]], np.float32)
    centroids = Formula("centroids", (), (read("sums"), read("usage")))
    found = value(centroids, sums=sums, usage=usage)
    np.testing.assert_allclose(found, [[1, 2], [0, 1]], rtol=1e-6)
    norms = value(centroids.then("half_norms"), sums=sums, usage=usage)
    np.testing.assert_allclose(norms, [-2.5, -0.5], rtol=1e-6)


def test_a_layer_norm_and_a_projection_are_those_of_their_rows() -> None:
    weight, bias = np.full(4, 2, np.float32), np.full(4, 0.5, np.float32)
    norm = Formula("layer_norm", (), (read("rows"), read("weight"), read("bias")))
    found = value(norm, rows=TABLE, weight=weight, bias=bias)
    np.testing.assert_allclose(found.mean(1), 0.5, atol=1e-6)
    np.testing.assert_allclose(found.std(1), 2, rtol=1e-5)
    product = value(
        Formula("product", (), (read("rows"), read("weight"))), rows=TABLE, weight=TABLE
    )
    np.testing.assert_array_equal(product, TABLE @ TABLE.T)
    assert product.dtype == np.float32


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_parts_of_a_quantized_weight_are_made_of_one_reading(symmetric: bool) -> None:
    weight = np.random.default_rng(0).standard_normal((5, 80), np.float32)
    blocks = BlockFormat(4, 32, symmetric)
    expected = pack(weight, blocks)
    tensors = Arrays({"a": weight})
    evaluation = Evaluation(tensors)
    for part, array in expected.items():
        found = evaluation.value(parse_formula(dump_formula(quantized(read("a"), blocks, part))))
        np.testing.assert_array_equal(found, array)
    assert tensors.reads == ["a"]
    step = np.abs(expected["scales"]).max()
    assert np.abs(unpack(expected, blocks, 80) - weight).max() <= 1.01 * step


def test_rows_that_are_quantized_apart_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).standard_normal((7, 64), np.float32)
    together = pack(weight, INT4)
    monkeypatch.setattr("kyutai_onnx.conversion.filling.quantize.AT_ONCE", 128)
    apart = pack(weight, INT4)
    assert together.keys() == apart.keys()
    for part, array in together.items():
        np.testing.assert_array_equal(apart[part], array)


def test_a_weight_is_packed_as_the_operator_reads_it() -> None:
    """Four bits, two to a byte, lowest first; the largest weight of a block is its lowest level."""
    weight = np.zeros((1, 32), np.float32)
    weight[0, :3] = [-8, 7, 1]
    arrays = pack(weight, BlockFormat(4, 32))
    assert arrays["scales"].tolist() == [[1.0]]
    assert arrays["packed"][0, 0, :2].tolist() == [0 | 15 << 4, 9 | 8 << 4]
    shifted = pack(np.linspace(0, 15, 32, dtype=np.float32)[None], INT4)
    assert shifted["scales"].tolist() == [[1.0]]
    assert shifted["zero_points"].tolist() == [[0]]


def test_a_recipe_of_its_own_is_used_but_not_written_down() -> None:
    def mute(path: str, weight: Array, blocks: BlockFormat) -> dict[str, Array]:
        assert path == "layer"
        return pack(np.zeros_like(weight), blocks)

    formula = quantized_by(mute, "layer", read("a"), BlockFormat(8, 32), "packed")
    assert (Evaluation(Arrays({"a": np.ones((2, 32), np.float32)})).value(formula) == 128).all()
    with pytest.raises(ValueError, match="in its own way"):
        dump_formula(formula)


def test_a_formula_says_whether_it_only_moves_numbers() -> None:
    moved = joined(read("a").rows(0, 2), read("a").then("halves", 1, 4).padded(1))
    assert moved.transposed(1, 0).moves_only
    assert not moved.then("cast", "float16").moves_only
    assert not joined(read("a"), Formula("centroids", (), (read("a"), read("b")))).moves_only


def test_positions_are_cosines_then_sines() -> None:
    found = value(Formula("positions", (3, 0.5, 1.0, 10.0)))
    assert found.shape == (3, 4)
    np.testing.assert_allclose(
        found[2], 0.5 * np.array([np.cos(2), np.cos(0.2), np.sin(2), np.sin(0.2)]), rtol=1e-6
    )
