"""Random checkpoints and their bundles, made once for all tests that ask for them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkpoints import Json
from support.parity.codecs_once import Codecs
from support.parity.makers import write_checkpoint
from support.parity.variants import LMS, MIMIS

from kyutai_onnx.export.bundle import Request, export_bundle
from kyutai_onnx.runtime.bundle.bundle import Bundle

Checkpoints = Callable[[str, str | None], Path]
Bundles = Callable[..., Bundle]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """A folder in Kyutai's layout for a codec variant and, if asked for, a model variant."""
    made: dict[tuple[str, str | None], Path] = {}

    def make(mimi: str, lm: str | None = None) -> Path:
        if (mimi, lm) not in made:
            values: Json | None = None if lm is None else LMS[lm]
            folder = tmp_path_factory.mktemp("checkpoint") / f"{mimi}-{lm}"
            made[mimi, lm] = write_checkpoint(folder, values, MIMIS[mimi])
        return made[mimi, lm]

    return make


def codebooks_of(mimi: str, lm: str | None) -> int:
    """As many as a model needs; of the light codec all, so that all models share it."""
    if mimi == "light" or lm is None:
        return int(MIMIS[mimi]["quantizer"]["n_q"])  # type: ignore[index]
    made, all_streams = int(str(LMS[lm]["dep_q"])), int(str(LMS[lm]["n_q"]))
    return max(made, all_streams - made)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoints) -> Bundles:
    """A bundle of such a checkpoint for a target and precision."""
    made: dict[tuple[object, ...], Bundle] = {}
    codecs = Codecs()

    def make(
        mimi: str,
        lm: str | None = None,
        *,
        target: str = "cpu",
        precision: str = "fp32",
        codec: str = "fp32",
        cache: str | None = None,
        decoder: bool = True,
    ) -> Bundle:
        key = (mimi, lm, target, precision, codec, cache, decoder)
        codebooks = codebooks_of(mimi, lm)
        if key not in made:
            out = tmp_path_factory.mktemp("bundle") / "-".join(map(str, key))
            request = Request(
                str(checkpoint(mimi, lm)),
                out,
                target=target,
                precision=precision,  # type: ignore[arg-type]
                codec_precision=codec,  # type: ignore[arg-type]
                kv_cache=cache,  # type: ignore[arg-type]
                decoder=decoder,
                codebooks=codebooks,
            )
            with codecs.shared((mimi, target, codebooks, codec), out):
                made[key] = Bundle.open(export_bundle(request))
        return made[key]

    return make
