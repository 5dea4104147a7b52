"""Random checkpoints and their bundles, made once for all tests that ask for them."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkpoints import Json
from support.parity.makers import write_checkpoint
from support.parity.variants import LMS, MIMIS
from support.shared import Shared

from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.bundle.manifest import Precision

Checkpoints = Callable[[str, str | None], Path]
Bundles = Callable[..., Bundle]


@pytest.fixture(scope="session")
def checkpoint(shared: Shared) -> Checkpoints:
    """A folder in Kyutai's layout for a codec variant and, if asked for, a model variant."""

    def make(mimi: str, lm: str | None = None) -> Path:
        values: Json | None = None if lm is None else LMS[lm]
        return shared.once(
            f"checkpoint-{mimi}-{lm}", lambda folder: write_checkpoint(folder, values, MIMIS[mimi])
        )

    return make


def codebooks_of(mimi: str, lm: str | None) -> int:
    """As many as a model needs; of the light codec all, so that all models share it."""
    most = int(MIMIS[mimi]["quantizer"]["n_q"])  # type: ignore[index]
    if mimi == "light" or lm is None:
        return most
    made, all_streams = int(str(LMS[lm]["dep_q"])), int(str(LMS[lm]["n_q"]))
    return min(most, max(made, all_streams - made))


@pytest.fixture(scope="session")
def bundle(shared: Shared, checkpoint: Checkpoints) -> Bundles:
    """A bundle of such a checkpoint for a target and precision."""

    @functools.cache
    def make(
        mimi: str,
        lm: str | None = None,
        *,
        target: str = "cpu",
        precision: Precision = "fp32",
        codec: Precision = "fp32",
        cache: Precision | None = None,
        decoder: bool = True,
    ) -> Bundle:
        codebooks = codebooks_of(mimi, lm)

        def export(out: Path) -> Path:
            request = Request(
                str(checkpoint(mimi, lm)),
                out,
                target=target,
                precision=precision,
                codec_precision=codec,
                kv_cache=cache,
                decoder=decoder,
                codebooks=codebooks,
            )
            return export_bundle(request)

        key = ("bundle", mimi, lm, target, precision, codec, cache, decoder)
        return Bundle.open(shared.once("-".join(map(str, key)), export))

    return make
