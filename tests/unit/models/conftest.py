"""Models that speak."""

import pytest
from support.speaking import speaking_bundle

from kyutai_onnx.models import TextToSpeech


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> TextToSpeech:
    """A model whose voices are embeddings, and that looks two words ahead."""
    return TextToSpeech(speaking_bundle(tmp_path_factory.mktemp("a") / "bundle"))


@pytest.fixture(scope="module")
def cloning(tmp_path_factory: pytest.TempPathFactory) -> TextToSpeech:
    """A model whose voices are recordings."""
    folder = tmp_path_factory.mktemp("b") / "bundle"
    return TextToSpeech(speaking_bundle(folder, embeddings=False))
