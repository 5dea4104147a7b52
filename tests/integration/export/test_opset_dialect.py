"""Operators that a flavour puts together itself, against numpy in double precision."""

import warnings

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import onnxruntime
import onnxscript.optimizer
import torch
from torch import Tensor, nn

from kyutai_onnx.export.modules.opset_dialect import Native, OpsetDialect, Portable, Scattering


@pytest.mark.parametrize("most", [1.0, 100.0, 1e4, 1e6])
def test_cosines_are_exact_however_long_a_stream_runs(most: float) -> None:
    noise = np.random.default_rng(0)
    angle = np.concatenate(
        [noise.uniform(0, most, 100_000), noise.integers(0, int(most) + 1, 1000)]
    ).astype(np.float32)
    cos, sin = Portable().cos_sin(torch.from_numpy(angle))
    exact = angle.astype(np.float64)
    assert np.abs(cos.numpy() - np.cos(exact)).max() < 3e-7
    assert np.abs(sin.numpy() - np.sin(exact)).max() < 3e-7


@pytest.mark.parametrize("divisor", [2, 7, 250, 3000])
def test_remainders_are_exact_in_both_flavours(divisor: int) -> None:
    noise = np.random.default_rng(0)
    value = noise.integers(0, 2**24, 100_000)
    value[:1000] = divisor * noise.integers(0, 2**24 // divisor, 1000) - 1
    value[1000:2000] = divisor * noise.integers(0, 2**24 // divisor, 1000)
    for dialect in (Native(), Portable()):
        found = dialect.modulo(torch.from_numpy(value), divisor).numpy()
        np.testing.assert_array_equal(found, value % divisor)


@pytest.mark.parametrize("dialect", [Portable(), Scattering()], ids=["portable", "scattering"])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_rings_are_written_from_each_rows_own_position(length: int, dialect: OpsetDialect) -> None:
    noise = torch.Generator().manual_seed(0)
    ring = torch.randn(3, 2, 7, 4, generator=noise)
    new = torch.randn(3, 2, length, 4, generator=noise)
    offset = torch.tensor([0, 5, 20])
    written = dialect.write_ring(ring, new, offset)
    for row, start in enumerate(offset.tolist()):
        expected = ring[row].clone()
        for step in range(length):
            expected[:, (start + step) % 7] = new[row, :, step]
        assert torch.equal(written[row], expected)


class Norm(nn.Module):
    def __init__(self, dialect: OpsetDialect) -> None:
        super().__init__()
        self.dialect, self.alpha = dialect, nn.Parameter(torch.linspace(0.5, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        stored = self.alpha * self.dialect.alpha_scale(8)
        return self.dialect.rms_norm(x, stored, 1e-8)


@pytest.mark.parametrize("dialect", [Native(), Portable()], ids=["native", "portable"])
def test_norms_of_nothing_and_of_next_to_nothing_outlive_the_optimiser(
    dialect: OpsetDialect,
) -> None:
    scale = torch.tensor([0, 1e-5, 1e-4, 1, 1e4])[None, :, None]
    x = scale * torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    norm = Norm(dialect).eval()
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        exported = torch.onnx.export(
            norm, (x,), dynamo=True, opset_version=dialect.opset, verbose=False
        )
    assert exported is not None
    onnxscript.optimizer.optimize(exported.model)
    session = onnxruntime.InferenceSession(exported.model_proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    wide = x.numpy().astype(np.float64)
    exact = wide * norm.alpha.detach().numpy() / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-9)
