"""The `openai` package, unmodified. What it finds in every corner of its endpoints is tried in
tests/integration/server/test_server_openai.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile
from support.commands import Command
from support.speech import whole

from benchmarks.served import ServedProcess
from kyutai_onnx.models import Hibiki, SpeechToText, Word
from kyutai_onnx.models.resolve import DEMO

if TYPE_CHECKING:
    import openai

FRENCH = DEMO / "samples" / "fr" / "deux-mille-vingt-six.flac"
SENTENCE = "set an alarm at six twenty"


@pytest.fixture
def client(server: ServedProcess) -> Iterator["openai.OpenAI"]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as made:
        yield made


def test_json_text_and_stream_have_the_words_of_transcribe(
    client: "openai.OpenAI", speech: Path, text: str
) -> None:
    transcriptions = client.audio.transcriptions
    assert transcriptions.create(model="whisper-1", file=speech).text == text
    plain = transcriptions.create(model="whisper-1", file=speech, response_format="text")
    assert plain == f"{text}\n"
    events = list(transcriptions.create(model="whisper-1", file=speech, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == text
    assert len(deltas) == len(text.split())
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", text)


def test_words_have_the_times_of_transcribe(
    client: "openai.OpenAI", speech: Path, words: list[Word]
) -> None:
    reported = client.audio.transcriptions.create(
        model="whisper-1",
        file=speech,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert reported.words is not None
    assert [(word.word, word.start, word.end) for word in reported.words] == [
        (word.text, round(word.start, 3), round(word.end, 3)) for word in words
    ]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_those_of_transcribe(
    client: "openai.OpenAI", command: Command, speech: Path, kind: str
) -> None:
    reported = client.audio.transcriptions.create(
        model="whisper-1",
        file=speech,
        response_format=kind,  # type: ignore[call-overload]
    )
    assert str(reported).rstrip() == command("transcribe", speech, "-q", "-f", kind).out.rstrip()


@pytest.fixture(scope="module")
def translated() -> str:
    """What the demo makes of the French recording, the likeliest text."""
    stream = Hibiki.load().stream(temperature=0.8, text_temperature=0, seed=3)
    events = [*stream.feed(whole(FRENCH)), *stream.flush()]
    return " ".join(event.text for event in events if isinstance(event, Word))


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["json", "text", "srt", "vtt", "verbose_json"])
def test_french_is_translated(client: "openai.OpenAI", translated: str, kind: str) -> None:
    from openai.types.audio import Translation, TranslationVerbose

    raw = client.audio.translations.with_raw_response.create(
        model="whisper-1",
        file=FRENCH,
        prompt="numbers",
        response_format=kind,  # type: ignore[arg-type]
        temperature=0,
        extra_body={"audio_temperature": 0.8, "seed": 3},
    )
    assert translated
    if kind == "json":
        assert Translation.model_validate_json(raw.content).text == translated
    elif kind == "verbose_json":
        found = TranslationVerbose.model_validate_json(raw.content)
        assert (found.text, found.language) == (translated, "english")
        assert found.segments is not None
        assert " ".join(segment.text for segment in found.segments) == translated
    else:
        assert translated in " ".join(raw.text.split())


@pytest.mark.parametrize("kind", ["wav", "pcm", "flac", "mp3", "opus"])
def test_a_text_is_spoken(
    client: "openai.OpenAI", model: SpeechToText, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"speech.{kind}"
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="default",
        input=SENTENCE,
        response_format=kind,  # type: ignore[arg-type]
        extra_body={"seed": 5},
    ) as answer:
        answer.stream_to_file(path)
    if kind == "pcm":
        pcm, rate = soundfile.read(
            path, samplerate=24000, channels=1, subtype="PCM_16", format="RAW"
        )
        path = tmp_path / "speech.wav"
        soundfile.write(path, pcm, rate)
    assert " ".join(word.text for word in model.transcribe(path)) == SENTENCE


def test_errors_are_those_of_openai(client: "openai.OpenAI", speech: Path) -> None:
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.NotFoundError, match="no model 'nobody' here"):
        client.audio.transcriptions.create(model="nobody", file=speech)
    assert "stt-demo-en" in [model.id for model in client.models.list()]


@pytest.mark.parametrize("name", ["stt-demo-en", "whisper-1", "gpt-4o-mini-tts"])
def test_a_model_is_described_by_each_name_it_answers_to(
    client: "openai.OpenAI", name: str
) -> None:
    openai = pytest.importorskip("openai")
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
