"""OpenAI's endpoints, asked by OpenAI's own package."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.recordings import film
from support.serving import RATE, STT, TTS, Running, ask, running
from support.speech import Array

from kyutai_onnx.models import Word
from kyutai_onnx.models.text.subtitles import srt, vtt

openai = pytest.importorskip("openai", reason="the openai package is not installed")

TEXT = "the train leaves at seven twenty three"
SPEECH = "/v1/audio/speech"
WORDS = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, TTS, slots=4, api_keys=("right",)) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator["openai.OpenAI"]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="right", max_retries=0) as found:
        yield found


def test_the_models_are_listed(client: "openai.OpenAI") -> None:
    listed = {model.id: model.family for model in client.models.list()}
    assert listed == {"stt-demo-en": "stt", "tts-demo-en": "tts"}


def test_words_as_json(client: "openai.OpenAI", speech: Path, text: str) -> None:
    for name in ("stt-demo-en", "whisper-1"):
        assert client.audio.transcriptions.create(model=name, file=speech).text == text


def test_words_as_text_and_subtitles(
    client: "openai.OpenAI", speech: Path, text: str, words: list[Word]
) -> None:
    expected = {"text": f"{text}\n", "srt": srt(words), "vtt": vtt(words)}
    for form, content in expected.items():
        found = client.audio.transcriptions.create(
            model="whisper-1", file=speech, response_format=form
        )
        assert found == content


def test_words_with_their_times(
    client: "openai.OpenAI", speech: Path, pcm: Array, words: list[Word]
) -> None:
    found = client.audio.transcriptions.create(
        model="whisper-1",
        file=speech,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
    )
    assert [word.word for word in found.words] == [word.text for word in words]
    assert [word.start for word in found.words] == pytest.approx([w.start for w in words], abs=1e-3)
    assert [word.end for word in found.words] == pytest.approx([w.end for w in words], abs=1e-3)
    assert " ".join(segment.text for segment in found.segments) == found.text
    assert found.language == "en"
    assert found.duration == pytest.approx(len(pcm) / RATE, abs=1e-3)


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_what_telephones_and_browsers_record(
    client: "openai.OpenAI", pcm: Array, text: str, tmp_path: Path, container: str, codec: str
) -> None:
    file = film(tmp_path / "recording", pcm, RATE, container, codec)
    assert client.audio.transcriptions.create(model="whisper-1", file=file).text == text


def test_segments_unless_words_are_asked_for(client: "openai.OpenAI", speech: Path) -> None:
    found = client.audio.transcriptions.create(
        model="whisper-1", file=speech, response_format="verbose_json"
    )
    assert found.words is None
    assert len(found.segments) > 0


def test_words_as_events(client: "openai.OpenAI", speech: Path, text: str) -> None:
    events = list(client.audio.transcriptions.create(model="whisper-1", file=speech, stream=True))
    assert [event.type for event in events] == [
        *["transcript.text.delta"] * len(text.split()),
        "transcript.text.done",
    ]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == text


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]"),
        ({"temperature": 9.0}, "temperature"),
        ({"stream": True, "response_format": "srt"}, "stream"),
        ({"include": ["everything"]}, "include[]"),
        ({"extra_body": {"hotwords": "a:b"}}, None),
        ({"file": ("a.wav", b"no audio at all, not any")}, None),
    ],
)
def test_what_cannot_be_transcribed(
    client: "openai.OpenAI", speech: Path, change: dict[str, object], param: str | None
) -> None:
    asked = {"model": "whisper-1", "file": speech} | change
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(**asked)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_model_that_is_not_there(client: "openai.OpenAI", speech: Path) -> None:
    with pytest.raises(openai.NotFoundError, match="stt-demo-en"):
        client.audio.transcriptions.create(model="tts-demo-en", file=speech)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_nobody_translates_without_a_model_that_does(client: "openai.OpenAI", speech: Path) -> None:
    with pytest.raises(openai.NotFoundError, match="translates") as refused:
        client.audio.translations.create(model="whisper-1", file=speech)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_a_wrong_key(server: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.models.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("body", [b"no form", b"--x\r\n", b""])
def test_what_is_no_form(server: Running, body: bytes) -> None:
    headers = {"kyutai-api-key": "right", "Content-Type": "multipart/form-data; boundary=x"}
    status, answer, _ = asyncio.run(ask(server, "POST", WORDS, data=body, headers=headers))
    assert status == 400
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_speech_in_every_format(client: "openai.OpenAI") -> None:
    lengths = {}
    for form in ("wav", "pcm", "opus", "flac", "mp3", "aac"):
        answer = client.audio.speech.create(
            model="tts-1",
            input=TEXT,
            voice="",
            response_format=form,
            extra_body={"seed": 3},
        )
        lengths[form] = len(decoded(answer.content, form)) / RATE
    assert lengths == pytest.approx(dict.fromkeys(lengths, lengths["wav"]), abs=0.15)
    assert lengths["wav"] > 1.5


def decoded(content: bytes, form: str) -> Array:
    """Samples of speech in any of the formats, by libav."""
    if form == "pcm":
        return np.frombuffer(content, "<i2").astype(np.float32)
    import av

    found = []
    with av.open(io.BytesIO(content)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        for frame in container.decode(audio=0):
            found += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(found)


def test_speech_comes_as_it_is_made(client: "openai.OpenAI") -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-demo-en", input=f"{TEXT} " * 8, voice="", response_format="pcm"
    ) as answer:
        pieces = list(answer.iter_bytes(chunk_size=None))
    assert len(pieces) > 10


def test_speech_as_events(client: "openai.OpenAI") -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", input=TEXT, voice="", response_format="pcm", stream_format="sse"
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(audio) > RATE
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] == 7


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"speed": 9}, "speed"),
        ({"response_format": "au"}, "response_format"),
        ({"input": " "}, "input"),
        ({"input": 7}, "input"),
        ({"voice": 7}, "voice"),
        ({"stream_format": "x"}, "stream_format"),
        ({"padding_bonus": 3}, "padding_bonus"),
        ({"seed": -1}, "seed"),
        ({"voice": "nobody"}, None),
    ],
)
def test_what_cannot_be_spoken(
    server: Running, change: dict[str, object], param: str | None
) -> None:
    content = {"model": "tts-1", "input": "seven", "voice": ""} | change
    headers = {"Authorization": "Bearer right"}
    status, body, _ = asyncio.run(ask(server, "POST", SPEECH, json=content, headers=headers))
    assert status == 400
    assert json.loads(body)["error"]["param"] == param


@pytest.mark.parametrize("name", ["gpt-4o-transcribe", "gpt-transcribe"])
def test_a_prompt_changes_nothing(
    client: "openai.OpenAI", speech: Path, text: str, name: str
) -> None:
    """It is not text that the model has to write, as that of `transcribe --prompt-text` is."""
    for prompt in ("Kyutai, Moshi", "\u2603"):
        found = client.audio.transcriptions.create(model=name, file=speech, prompt=prompt)
        assert found.text == text


def test_verbose_json_is_what_the_package_declares(client: "openai.OpenAI", speech: Path) -> None:
    """The client takes any JSON; its types are checked here."""
    from openai.types.audio import TranscriptionVerbose

    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=speech,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    found = TranscriptionVerbose.model_validate_json(raw.content)
    assert found.segments is not None
    assert all(segment.avg_logprob <= 0 for segment in found.segments)


def test_probabilities_of_words(client: "openai.OpenAI", speech: Path, text: str) -> None:
    asked = {"model": "gpt-4o-transcribe", "file": speech, "include": ["logprobs"]}
    found = client.audio.transcriptions.create(**asked)
    assert "".join(token.token for token in found.logprobs) == text
    assert all(token.logprob <= 0 for token in found.logprobs)
    last = list(client.audio.transcriptions.create(**asked, stream=True))[-1]
    assert [token.logprob for token in last.logprobs] == [t.logprob for t in found.logprobs]


@pytest.mark.parametrize("name", ["tts-1-hd", "gpt-4o-mini-tts"])
def test_what_clients_send_by_habit(client: "openai.OpenAI", name: str) -> None:
    lengths = {
        speed: len(
            client.audio.speech.create(
                model=name,
                input=TEXT,
                voice="alloy",
                instructions="Whisper.",
                response_format="pcm",
                speed=speed,
                extra_body={"seed": "3", "temperature": "0"},
            ).content
        )
        for speed in (1.0, 2.0)
    }
    assert lengths[2.0] == pytest.approx(lengths[1.0] / 2, rel=0.05)


def test_voices_are_listed_with_those_of_openai(server: Running) -> None:
    headers = {"Authorization": "Bearer right"}
    status, body, _ = asyncio.run(ask(server, "GET", "/v1/audio/voices", headers=headers))
    assert status == 200
    assert {"alloy", "verse"} <= {voice["id"] for voice in json.loads(body)["voices"]}


def test_one_model(client: "openai.OpenAI") -> None:
    assert client.models.retrieve("stt-demo-en").id == "stt-demo-en"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/models", 405), ("GET", WORDS, 405)],
)
def test_every_error_is_json(server: Running, method: str, path: str, status: int) -> None:
    found, body, headers = asyncio.run(ask(server, method, path))
    assert (found, headers["Content-Type"].split(";")[0]) == (status, "application/json")
    assert json.loads(body)["error"]["message"]
    assert ("Allow" in headers) == (status == 405)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/realtime"])
def test_an_error_of_the_client_is_not_called_one_of_the_server(server: Running, path: str) -> None:
    origin = {"Origin": "https://elsewhere.example"} if path == "/v1/models" else {}
    status, body, _ = asyncio.run(ask(server, "GET", path, headers=origin))
    assert status in (403, 426)
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("form", ["audio", "sse"])
def test_an_answer_that_breaks_off_does_not_look_whole(form: str) -> None:
    content = {"input": f"{TEXT} " * 500, "response_format": "pcm", "stream_format": form}
    body = json.dumps(content).encode()
    head = f"POST {SPEECH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"

    async def go(server: Running) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server.port)
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(100)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        answer += await reader.read()
        writer.close()
        await stopping
        return answer

    with running(TTS) as server:
        answer = asyncio.run(go(server))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b"\r\n0\r\n\r\n") == (form == "sse")
    if form == "sse":
        last = answer.split(b"data: ")[-1].partition(b"\n")[0]
        assert json.loads(last)["error"]["type"] == "server_error"


def test_a_slower_speech_by_our_own_field(client: "openai.OpenAI") -> None:
    lengths = []
    for bonus in (-2, 2):
        answer = client.audio.speech.create(
            model="tts-1",
            input=TEXT,
            voice="",
            response_format="pcm",
            extra_body={"padding_bonus": bonus, "seed": 3},
        )
        lengths.append(len(answer.content))
    assert lengths[0] < lengths[1]


def test_the_formats_of_wav_can_be_read(client: "openai.OpenAI", tmp_path: Path) -> None:
    answer = client.audio.speech.create(model="tts-1", input=TEXT, voice="", response_format="flac")
    path = tmp_path / "speech.flac"
    path.write_bytes(answer.content)
    assert soundfile.info(path).samplerate == RATE
