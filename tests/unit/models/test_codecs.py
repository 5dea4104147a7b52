"""Models that have the same codec share it, and transcribe as before."""

from pathlib import Path

import numpy as np
from support.bundles import copy_demo
from support.speech import Array

from kyutai_onnx.models import Hibiki, Mimi, SpeechToText, TextToSpeech, Word
from kyutai_onnx.models.mimi.model import CodecCache
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.providers.provider import choose


def test_the_demos_share_one_codec(pcm: Array, words: list[Word]) -> None:
    codecs = CodecCache()
    models = [family.load(codecs=codecs) for family in (SpeechToText, TextToSpeech, Hibiki)]
    for direction in ("encode", "decode"):
        first, *others = [model.mimi.open(direction) for model in models]
        assert all(other is first for other in others)
    assert list(models[0].transcribe(pcm)) == words  # type: ignore[attr-defined]
    codes = [model.mimi.encode(pcm) for model in models]
    assert np.array_equal(codes[0], codes[1])


def test_without_a_word_nothing_is_shared() -> None:
    one, other = Mimi.load(DEMO / "stt"), Mimi.load(DEMO / "stt")
    assert one.open("encode") is not other.open("encode")
    assert one.open("encode") is one.open("encode")


def test_what_differs_is_not_shared(tmp_path: Path) -> None:
    def changed(manifest: dict[str, dict[str, dict[str, object]]]) -> None:
        manifest["graphs"]["mimi_encoder"]["max_frames"] = 1

    one, other = Bundle.open(DEMO / "stt"), Bundle.open(copy_demo(tmp_path / "other", changed))
    codecs, provider = CodecCache(), choose("auto", one.manifest.target, allow_fallback=False)
    names = one.manifest.codec.encoder
    first = codecs.open(one, names, provider, 1)
    assert codecs.open(one, names, provider, 1) is first
    assert codecs.open(one, names, provider, 2) is not first
    assert codecs.open(other, names, provider, 1) is not first
    assert codecs.open(one, one.manifest.codec.decoder, provider, 1) is not first
