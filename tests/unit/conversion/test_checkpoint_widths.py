import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from support.checkpoints import MOSHI, SPEAKING, candle, fused, lm_config, mlx, random_lm

from kyutai_onnx.conversion.checkpoint.layouts import canonical_lm, lm_shapes, with_widths
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.runtime.errors import ModelError


@pytest.mark.parametrize(
    "widths",
    [
        {"hidden_scale": 4.125},
        {"hidden_scale": 6, "depformer_dim_feedforward": None},
        {"hidden_scale": 4, "depformer_dim_feedforward": 66},
        {"hidden_scale": 4.125, "depformer_dim_feedforward": [48, 64, 66, 30]},
    ],
)
@pytest.mark.parametrize("write", [mlx, candle])
def test_the_weights_give_how_wide_the_feed_forwards_are(widths, write):
    """MLX's and Rust's programs need no `hidden_scale`, and read 4 as 4.125."""
    values = MOSHI | widths
    state = random_lm(values)
    silent = {key: value for key, value in MOSHI.items() if key != "hidden_scale"}
    config = lm_config(silent | {"depformer_dim_feedforward": 64})
    view = canonical_lm(InMemory(write(state, values)), config)
    assert all(np.array_equal(view.read(name), tensor) for name, tensor in state.items())
    fitted = with_widths(config, view)
    assert lm_shapes(fitted) == lm_shapes(lm_config(values))
    assert with_widths(fitted, view) == fitted


def test_widths_that_the_weights_confirm_stay_as_they_are_said():
    config = lm_config(SPEAKING)
    assert with_widths(config, InMemory(random_lm(SPEAKING))) == config


def test_a_layer_of_another_width_than_the_first_is_misshapen():
    state = fused(random_lm(MOSHI))
    state["transformer.layers.1.gating.linear_in.weight"] = torch.ones(64, 32)
    with pytest.raises(ModelError, match=r"1 misshapen \(transformer.layers.1.gating.linear_in"):
        canonical_lm(InMemory(state), lm_config(MOSHI))
