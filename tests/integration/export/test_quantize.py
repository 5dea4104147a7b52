"""Weights of 8 and 4 bits, and recipes that choose among them layer by layer."""

from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import onnx
from support.speech import Array

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.conversion.filling.quantize import BlockFormat, pack, unpack
from kyutai_onnx.conversion.filling.recipe import QuantizationRecipe, pack_alike
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.export.verification.quality_gate import judge
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.errors import UsageError

DEMO = ROOT / "training" / "stt-demo-en"
INT4 = BlockFormat(4, 64, symmetric=False)
INT8 = BlockFormat(8, 128)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dim_in", [192, 128, 50])
def test_a_weight_comes_back_within_half_a_step_of_its_block(
    bits: int, size: int, symmetric: bool, dim_in: int
) -> None:
    blocks = BlockFormat(bits, size, symmetric)
    weight = np.random.default_rng(0).standard_normal((7, dim_in), np.float32)
    arrays = pack(weight, blocks)
    assert arrays["packed"].shape == (7, blocks.count(dim_in), blocks.bytes)
    assert ("zero_points" in arrays) is not symmetric
    off = np.abs(unpack(arrays, blocks, dim_in) - weight)
    steps = np.abs(arrays["scales"]).repeat(size, axis=1)[:, :dim_in]
    # The side that has one level less, and a zero point that was rounded, may cut half a step more.
    assert (off <= 1.01 * steps).all()
    assert (off <= 0.501 * steps).mean() > 0.95


def nodes(bundle: Bundle) -> dict[str, tuple[int, int]]:
    """Bits and block size of every quantised layer, by the name of its weight."""
    graph = onnx.load(bundle.path / "temporal_transformer.onnx", load_external_data=False).graph
    found = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            values = {attribute.name: attribute.i for attribute in node.attribute}
            found[node.input[1].removesuffix(".packed")] = (values["bits"], values["block_size"])
    return found


def test_a_recipe_says_the_format_of_each_layer(pcm: Array, tmp_path: Path) -> None:
    recipe = QuantizationRecipe(
        INT4, INT8, kept=lambda path: INT8 if "linear_out" in path else None
    )
    request = Request(str(DEMO), tmp_path / "bundle", precision="int4", recipe=recipe)
    bundle = Bundle.open(export_bundle(request))
    written = nodes(bundle)
    assert len(written) == 5 * 4 + 1 + 4
    for path, found in written.items():
        eight = "linear_out" in path or "transformer" not in path
        assert found == ((8, 128) if eight else (4, 64))
    quantization = bundle.manifest.quantization
    assert quantization is not None
    assert (quantization.bits, quantization.block_size, quantization.head_bits) == (4, 64, 8)
    verdict = judge(bundle, open_checkpoint(str(DEMO)), [pcm])
    assert verdict.passes
    assert 0.9 < verdict.agreed / verdict.steps <= 1
    assert verdict.divergence > 0


def test_a_recipe_may_round_in_its_own_way(pcm: Array, tmp_path: Path) -> None:
    rounded: set[str] = set()

    def mute(path: str, weight: Array, blocks: BlockFormat) -> dict[str, Array]:
        rounded.add(path)
        return pack_alike(path, np.zeros_like(weight), blocks)

    request = Request(
        str(DEMO),
        tmp_path / "bundle",
        precision="int4",
        recipe=QuantizationRecipe(INT4, INT8, pack=mute),
    )
    bundle = Bundle.open(export_bundle(request))
    assert rounded == set(nodes(bundle))
    verdict = judge(bundle, open_checkpoint(str(DEMO)), [pcm])
    assert not verdict.passes
    assert verdict.agreed < verdict.steps


def test_what_is_not_rounded_takes_no_recipe(tmp_path: Path) -> None:
    request = Request(
        str(DEMO), tmp_path / "bundle", precision="fp32", recipe=QuantizationRecipe(INT4, INT8)
    )
    with pytest.raises(UsageError, match="a recipe is for int8 and int4, not for fp32"):
        export_bundle(request)
    assert not (tmp_path / "bundle").exists()
