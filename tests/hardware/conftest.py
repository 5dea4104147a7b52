"""Bundles for devices, exported once for all workers where Kyutai's package is installed."""

import os
from importlib.util import find_spec

if find_spec("torch") and find_spec("moshi"):
    os.environ["NO_TORCH_COMPILE"] = "1"
    from support.parity.fixtures import bundle, checkpoint

    __all__ = ["bundle", "checkpoint"]
