"""What a user of the Python API meets first: options of `transcribe`, sources, times and reprs."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kyutai_onnx import EndOfTurn, Mimi, Pause, SpeechToText, Word
from kyutai_onnx.models.families import SAMPLES
from kyutai_onnx.runtime.errors import UsageError

Array = np.ndarray[Any, Any]
RECORDING = SAMPLES / "train.flac"


def test_arrays_of_any_type_and_files_in_memory_give_the_same_words(
    model: SpeechToText, pcm: Array, words: list[Word]
) -> None:
    for given in (
        pcm.astype(np.float64),
        np.stack([pcm, pcm], axis=1),
        (pcm * 2**31).astype(np.int32),
    ):
        assert [w.text for w in model.transcribe(given)] == [w.text for w in words]
    recorded = list(model.transcribe(RECORDING))
    for file in (RECORDING.read_bytes(), io.BytesIO(RECORDING.read_bytes())):
        assert list(model.transcribe(file)) == recorded


def test_an_array_has_the_rate_that_it_is_given_with(model: SpeechToText, pcm: Array) -> None:
    slow = list(model.transcribe(pcm, sample_rate=model.sample_rate // 2))
    assert slow != list(model.transcribe(pcm))
    assert list(model.transcribe(pcm, sample_rate=model.sample_rate)) == list(model.transcribe(pcm))
    with pytest.raises(UsageError, match="sample_rate"):
        list(model.transcribe(RECORDING, sample_rate=8000))


def test_options_are_those_of_a_stream(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream(temperature=2.5, seed=3)
    drawn = [e for e in [*stream.feed(pcm), *stream.flush()] if isinstance(e, Word)]
    assert list(model.transcribe(pcm, temperature=2.5, seed=3)) == drawn
    with pytest.raises(UsageError, match="temperature"):
        model.transcribe(pcm, temperature=-1)
    with pytest.raises(UsageError, match="prompt"):
        model.transcribe(pcm, prompt="\N{SNOWMAN}")


def test_pauses_come_between_the_words(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream()
    kinds = (Word, Pause, EndOfTurn)
    found = [e for e in [*stream.feed(pcm), *stream.flush()] if isinstance(e, kinds)]
    assert list(model.transcribe(pcm, pauses=True)) == found
    assert any(isinstance(event, Pause) for event in found)


def test_a_model_without_extra_heads_has_no_pauses(
    model: SpeechToText, pcm: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpeechToText, "has_pauses", False)
    with pytest.raises(UsageError, match="extra-heads"):
        model.transcribe(pcm, pauses=True)


def test_words_have_times_to_the_millisecond(words: list[Word]) -> None:
    assert len(words) > 5
    for word in words:
        assert (word.start, word.end) == (round(word.start, 3), round(word.end, 3))


@pytest.mark.parametrize("load", [SpeechToText.load, Mimi.load])
def test_a_model_says_what_it_is(load: Callable[[], object]) -> None:
    shown = repr(load())
    assert shown.startswith(("SpeechToText('", "Mimi('"))
    assert "provider='cpu', sample_rate=24000)" in shown


def test_results_show_no_arrays(tmp_path: Path) -> None:
    from kyutai_onnx import Audio, Speech

    assert repr(Audio(np.zeros(1920, np.float32))) == "Audio(1920 samples)"
    nothing = np.zeros(0, np.int64)
    speech = Speech(np.zeros(9, np.float32), 24_000, [Word("one", 0.0, 0.1)], nothing, nothing)
    assert "array" not in repr(speech)
    assert "one" in repr(speech)
