"""The voices that a server keeps ready."""

from pathlib import Path

import pytest
from support.speaking import SUFFIX, speaking_bundle, write_voice
from support.speech import hiss, write_wav

from kyutai_onnx.models import TextToSpeech
from kyutai_onnx.models.tts.voices import Voice
from kyutai_onnx.server import voices as module
from kyutai_onnx.server.voices import UnknownVoice, VoiceCatalog


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The voices that were made ready, in their order."""
    found: list[object] = []
    speaker = TextToSpeech.load_voice

    def noted(model: TextToSpeech, voice: object, cfg_coef: float | None = None) -> Voice:
        found.append(voice)
        return speaker(model, voice, cfg_coef)  # type: ignore[arg-type]

    monkeypatch.setattr(TextToSpeech, "load_voice", noted)
    return found


def test_no_more_is_kept_than_may_be(
    tmp_path: Path, made: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = speaking_bundle(tmp_path / "bundle")
    for name in ("one", "two", "three"):
        write_voice(bundle.path / "voices" / f"{name}.wav{SUFFIX}")
    voices = VoiceCatalog(TextToSpeech(bundle), None, hub=False)
    names = [voice.name for voice in voices.names()]
    assert len(names) == 3
    monkeypatch.setattr(module, "KEPT", 2 * voices.prepare(names[0], None).nbytes)
    for name in (*names, names[2], names[1], names[0]):
        assert voices.prepare(name, None) is voices.prepare(name, None)
    assert made == [*names, names[0]]
    with pytest.raises(UnknownVoice):
        voices.prepare("four", None)


def test_a_recording_is_used_againce(tmp_path: Path) -> None:
    bundle = speaking_bundle(tmp_path / "bundle", embeddings=False)
    recording = write_wav(tmp_path / "me.wav", 20 * hiss(0.5))
    speaker = VoiceCatalog(TextToSpeech(bundle), str(recording), hub=False).prepare(None, None)
    assert speaker.primed is not None
