"""Bundles that speak, for the commands."""

from pathlib import Path

import pytest
from support.speaking import SUFFIX, speaking_bundle, write_voice


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with voices of its own."""
    bundle = speaking_bundle(tmp_path_factory.mktemp("a") / "bundle")
    for name, loudness in (("anna.wav", 3.0), ("bert.wav", 5.0)):
        write_voice(bundle.path / "voices" / f"{name}{SUFFIX}", loudness)
    return bundle.path


@pytest.fixture(scope="module")
def cloning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_bundle(tmp_path_factory.mktemp("b") / "bundle", embeddings=False).path
