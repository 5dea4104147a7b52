"""Kyutai's package runs beside ours, on checkpoints of random weights."""

import os

import pytest

os.environ["NO_TORCH_COMPILE"] = "1"

pytest.importorskip("torch", reason="parity needs torch")
pytest.importorskip("moshi", reason="parity needs Kyutai's package")

from support.parity.fixtures import bundle, checkpoint

__all__ = ["bundle", "checkpoint"]
