"""OpenAI's formats without sockets: requests read, words and speech written."""

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyutai_onnx.models import Word
from kyutai_onnx.models.stt.hotwords import BONUS, parse_hotwords
from kyutai_onnx.runtime.audio.pcm import decode
from kyutai_onnx.server.openai import adapter
from kyutai_onnx.server.openai import messages as openai
from kyutai_onnx.server.openai.messages import (
    InvalidRequestError,
    TranscriptionRequest,
    read_speech_request,
    read_transcription_request,
    read_translation_request,
)
from kyutai_onnx.server.wire.speech_encoders import Tempo, speech_encoder

WORDS = [Word("Bonjour", 0.0, 0.5), Word("à", 0.5, 0.7), Word("tous.", 3.0, 3.4)]
MINIMAL = {"model": "tts-1", "input": "seven"}


def test_a_form_with_its_model_alone() -> None:
    assert read_transcription_request({"model": ["x"]}) == TranscriptionRequest(model="x")


def test_all_of_a_form() -> None:
    fields = {
        "model": ["x"],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment", "word"],
        "prompt": ["names"],
        "hotwords": ["Kyutai:3"],
        "language": ["fr"],
        "temperature": ["0.5"],
        "chunking_strategy": ["auto"],
    }
    assert read_transcription_request(fields) == TranscriptionRequest(
        "x",
        "transcribe",
        "verbose_json",
        ("word", "segment"),
        language="fr",
        options={"hotwords": "Kyutai:3", "temperature": 0.5},
    )


@pytest.mark.parametrize("field", ["keywords", "keywords[]"])
def test_keywords_are_hotwords(field: str) -> None:
    fields = {field: ["Loonah", "3:00, #sharp", " "], "hotwords": ["Kyutai:3"]}
    given = read_transcription_request(fields).options["hotwords"]
    assert [(word.phrase, word.bonus) for word in parse_hotwords(given)] == [
        ("Loonah", BONUS),
        ("3 00 sharp", BONUS),
        ("Kyutai", 3.0),
    ]


def test_the_temperature_of_a_translation_is_that_of_its_text() -> None:
    found = read_translation_request({"model": ["x"], "temperature": ["0"], "prompt": ["names"]})
    assert found == TranscriptionRequest(
        "x", "translate", language="english", options={"text_temperature": 0.0}
    )


@pytest.mark.parametrize("field", ["hotwords", "keywords[]", "include[]", "stream"])
def test_what_a_translation_has_not(field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_translation_request({field: ["true"]})
    assert refused.value.param == field


def test_probabilities_are_asked_for_by_include() -> None:
    assert read_transcription_request({"model": ["x"], "include[]": ["logprobs"]}).logprobs
    for change in ({"include[]": ["more"]}, {"response_format": ["srt"], "include": ["logprobs"]}):
        with pytest.raises(InvalidRequestError) as refused:
            read_transcription_request({"include[]": ["logprobs"], **change})
        assert refused.value.param == "include[]"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text", "Bonjour à tous.\n"),
        ("json", {"text": "Bonjour à tous.", "usage": {"type": "duration", "seconds": 4}}),
    ],
)
def test_words_written_plainly(kind: str, expected: object) -> None:
    content_type, body = adapter.render_transcript(
        TranscriptionRequest("x", format=kind), WORDS, 3.4
    )
    found = json.loads(body) if content_type == "application/json" else body.decode()
    assert found == expected


def test_words_and_segments_are_written_when_asked_for() -> None:
    def verbose(*granularities: str) -> dict[str, Any]:
        request = TranscriptionRequest("x", "transcribe", "verbose_json", granularities)
        found: dict[str, Any] = json.loads(adapter.render_transcript(request, WORDS, 3.4)[1])
        return found

    assert verbose("word")["words"][1] == {"word": "à", "start": 0.5, "end": 0.7}
    assert "segments" not in verbose("word")
    first, second = verbose("segment")["segments"]
    assert (first["text"], second["text"], second["start"]) == ("Bonjour à", "tous.", 3.0)
    assert set(verbose("word", "segment")) >= {"task", "language", "duration", "words", "segments"}


def test_events_are_lines_of_json() -> None:
    pieces = [adapter.transcript_delta(w, first=i == 0) for i, w in enumerate(WORDS)]
    pieces.append(adapter.transcript_done(WORDS, 3.4, with_logprobs=False))
    events = [json.loads(piece.decode().removeprefix("data: ")) for piece in pieces]
    assert all(piece.endswith(b"\n\n") for piece in [*pieces, openai.DONE])
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"]


def test_a_request_with_defaults() -> None:
    request = read_speech_request(MINIMAL, 10)
    assert (request.format, request.stream_format, request.voice) == ("mp3", "audio", None)
    named = read_speech_request(MINIMAL | {"voice": {"id": "calm"}, "seed": 3, "speed": 1}, 10)
    assert (named.voice, named.options) == ("calm", {"seed": 3})


def test_numbers_may_be_texts() -> None:
    given = MINIMAL | {"speed": "1.25", "seed": "3", "padding_bonus": "-0.5", "temperature": "0"}
    found = read_speech_request(given, 10)
    assert found.speed == 1.25
    assert found.options == {"seed": 3, "padding_bonus": -0.5, "temperature": 0.0}


@pytest.mark.parametrize("speed", [0, 0.2, 4.1, "fast", "nan", True, [], {}])
def test_a_speed_out_of_range_is_refused(speed: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_speech_request(MINIMAL | {"speed": speed}, 10)
    assert refused.value.param == "speed"


def test_what_is_said_of_a_segment_and_of_words() -> None:
    words = [Word("one", 0.0, 0.4, 0.5), Word("two", 0.5, 0.8, 1.0), Word("three", 0.9, 1.2, None)]
    request = TranscriptionRequest("x", format="verbose_json")
    (segment,) = json.loads(adapter.render_transcript(request, words, 2.0)[1])["segments"]
    assert segment["avg_logprob"] == pytest.approx(math.log(0.5) / 3, abs=1e-3)
    assert segment["no_speech_prob"] == 0
    assert 0 < segment["compression_ratio"] < 1
    (first, second, _) = adapter.logprobs(words)
    assert (first["token"], first["logprob"]) == ("one", pytest.approx(math.log(0.5), abs=1e-3))
    assert (second["token"], bytes(second["bytes"]), second["logprob"]) == (" two", b" two", 0.0)


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.5, 4.0])
def test_speech_is_made_faster_or_slower_at_its_pitch(speed: float) -> None:
    pcm = np.sin(np.arange(72000) * 2 * np.pi * 440 / 24000).astype(np.float32)
    tempo = Tempo(speed, 24000)
    parts = [tempo.push(pcm[start : start + 1920]) for start in range(0, len(pcm), 1920)]
    found = np.concatenate([*parts, tempo.end()])
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(len(pcm) / speed, rel=0.02)
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum.argmax() * 24000 / len(found) == pytest.approx(440, abs=1)
    assert len(Tempo(speed, 24000).end()) == 0


def test_a_text_may_be_too_long() -> None:
    with pytest.raises(InvalidRequestError, match="at most 4") as refused:
        read_speech_request(MINIMAL, 4)
    assert refused.value.param == "input"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = ("model", "input", "voice", "response_format", "speed", "seed", "padding_bonus", "x")


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_any_request_is_read_or_refused_in_a_line(content: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequestError):
        request = read_speech_request(content, 100)
        assert request.text.strip()
        assert set(request.options) <= {"seed", "padding_bonus"}


FORM = (
    "model",
    "response_format",
    "stream",
    "temperature",
    "timestamp_granularities[]",
    "include",
    "keywords[]",
)


@given(st.dictionaries(st.sampled_from(FORM), st.lists(st.text(max_size=10), max_size=3)))
def test_any_form_is_read_or_refused(fields: dict[str, list[str]]) -> None:
    for read in (read_transcription_request, read_translation_request):
        with contextlib.suppress(InvalidRequestError):
            request = read(fields)
            assert request.format in openai.TRANSCRIPT_TYPES
            assert set(request.granularities) <= set(openai.GRANULARITIES)


@pytest.mark.parametrize("field", FORM[1:5])
def test_a_refused_field_is_quoted_in_part(field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_transcription_request({field: ["word" * 1000]})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("kind", ["pcm", "wav"])
@pytest.mark.parametrize("step", [1, 1000, 24000])
def test_samples_are_written_as_they_come(kind: str, step: int) -> None:
    pcm = np.linspace(-1.5, 1.5, 24000, dtype=np.float32)
    encoder = speech_encoder(kind, 24000)
    data = b"".join(encoder.push(pcm[i : i + step]) for i in range(0, 24000, step))
    data += encoder.end()
    head = 44 if kind == "wav" else 0
    assert decode(data[head:], "s16le") == pytest.approx(np.clip(pcm, -1, 1), abs=1e-4)


@pytest.mark.parametrize("kind", ["wav", "pcm", "opus", "flac", "mp3", "aac"])
def test_no_samples_may_come_before_the_first(kind: str) -> None:
    samples = np.sin(np.arange(24000, dtype=np.float32) / 9)
    plain, late = speech_encoder(kind, 24000), speech_encoder(kind, 24000)
    content = plain.push(samples) + plain.end()
    assert len(late.push(samples[:0]) + late.push(samples) + late.end()) == len(content)


def test_speech_that_says_nothing_is_whole_all_the_same() -> None:
    for kind in openai.SPEECH_TYPES:
        encoder = speech_encoder(kind, 24000)
        data = encoder.end()
        assert data[:4] == {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS"}.get(kind, data[:4])
