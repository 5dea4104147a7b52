"""The Realtime API by the `openai` package, unmodified: what it gets is valid by its own types.
What goes wrong is tried in tests/integration/server/test_server_realtime.py."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.speech import RATE, Array, whole

from benchmarks.served import ServedProcess
from kyutai_onnx.models import SpeechToText
from kyutai_onnx.runtime.audio.pcm import decode, encode

openai = pytest.importorskip("openai", reason="the openai package is not installed")
pytest.importorskip("websockets", reason="the openai package connects by websockets")
pydantic = pytest.importorskip("pydantic")

SENTENCE = "set an alarm at six twenty"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
SUBTYPES = {"audio/pcmu": "ULAW", "audio/pcma": "ALAW"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The package itself uses what `websockets` has deprecated, and deprecates its own beta."""

Event = dict[str, Any]


@pytest.fixture
def client(server: ServedProcess) -> Iterator["openai.OpenAI"]:
    """One whose beta, which is always encrypted otherwise, uses a plain websocket."""
    with openai.OpenAI(
        base_url=f"{server.url}/v1",
        websocket_base_url=f"ws://127.0.0.1:{server.port}/v1",
        api_key="any",
        max_retries=0,
    ) as made:
        yield made


class Checked:
    """A connection of the package, whose events are checked by its types."""

    def __init__(self, connection: Any, types: Any) -> None:
        self.connection, self._types = connection, pydantic.TypeAdapter(types)

    def next(self) -> Event:
        raw = self.connection.recv_bytes()
        self._types.validate_json(raw)
        found: Event = json.loads(raw)
        return found

    def until(self, kind: str, count: int = 1) -> list[Event]:
        """All events up to so many of a kind; an error is none of them."""
        found: list[Event] = []
        while sum(event["type"] == kind for event in found) < count:
            event = self.next()
            assert event["type"] != "error", event
            found.append(event)
        return found

    def append(self, data: bytes, step: int = 9001) -> None:
        """Send audio in pieces that end within samples."""
        for start in range(0, len(data), step):
            piece = base64.b64encode(data[start : start + step]).decode()
            self.connection.input_audio_buffer.append(audio=piece)


@pytest.fixture
def today(client: "openai.OpenAI") -> Iterator[Checked]:
    from openai.types.realtime import RealtimeServerEvent

    with client.realtime.connect(model="gpt-realtime") as connection:
        checked = Checked(connection, RealtimeServerEvent)
        assert checked.next()["type"] == "session.created"
        yield checked


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def deltas(events: list[Event], kind: str) -> str:
    return "".join(event["delta"] for event in of(events, kind))


def speech_of(events: list[Event], kind: str = "response.output_audio.delta") -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in of(events, kind))


def transcription(**given: Any) -> dict[str, Any]:
    chosen = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}
    return {"type": "transcription", "audio": {"input": chosen | given}}


def test_audio_that_is_committed_is_transcribed(today: Checked, pcm: Array, text: str) -> None:
    asked = transcription() | {"include": ["item.input_audio_transcription.logprobs"]}
    today.connection.session.update(session=asked)
    updated = today.until("session.updated")[-1]["session"]
    assert (updated["type"], updated["audio"]["input"]["turn_detection"]) == ("transcription", None)
    for _ in range(2):
        today.append(encode(pcm, "s16le"))
        today.connection.input_audio_buffer.commit()
        events = today.until(f"{TRANSCRIPTION}.completed")
        last = events[-1]
        assert last["transcript"] == text
        assert deltas(events, f"{TRANSCRIPTION}.delta") == text
        assert "".join(token["token"] for token in last["logprobs"]) == text
        assert all(token["logprob"] <= 0 for token in last["logprobs"])
        assert last["usage"]["seconds"] == pytest.approx(len(pcm) / RATE, abs=0.01)
        (committed,) = of(events, "input_audio_buffer.committed")
        assert {event["item_id"] for event in events if "item_id" in event} == {
            committed["item_id"]
        }


@pytest.mark.parametrize("kind", SUBTYPES)
def test_telephone_audio_is_transcribed(
    today: Checked, model: SpeechToText, pcm: Array, tmp_path: Path, kind: str
) -> None:
    heard, raw = tmp_path / "heard.wav", tmp_path / "heard.raw"
    narrow = pcm[: len(pcm) // 3 * 3].reshape(-1, 3).mean(axis=1)
    for path in (heard, raw):
        form = path.suffix[1:].upper()
        soundfile.write(path, narrow, RATE // 3, subtype=SUBTYPES[kind], format=form)
    expected = " ".join(word.text for word in model.transcribe(whole(heard)))
    today.connection.session.update(session=transcription(format={"type": kind}))
    today.append(raw.read_bytes())
    today.connection.input_audio_buffer.commit()
    assert today.until(f"{TRANSCRIPTION}.completed")[-1]["transcript"] == expected


def test_turns_end_with_pauses(today: Checked, pcm: Array, text: str) -> None:
    """The pause head of the model says when."""
    today.connection.session.update(
        session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    )
    quiet = np.zeros(2 * RATE, np.float32)
    today.append(encode(np.concatenate([pcm, quiet, pcm, quiet]), "s16le"))
    events = today.until(f"{TRANSCRIPTION}.completed", 2)
    assert [event["transcript"] for event in of(events, f"{TRANSCRIPTION}.completed")] == [text] * 2
    started = of(events, "input_audio_buffer.speech_started")
    stopped = of(events, "input_audio_buffer.speech_stopped")
    committed = of(events, "input_audio_buffer.committed")
    assert [[e["item_id"] for e in each] for each in (started, stopped)] == [
        [e["item_id"] for e in committed]
    ] * 2
    times = [
        time
        for one, other in zip(started, stopped, strict=True)
        for time in (one["audio_start_ms"], other["audio_end_ms"])
    ]
    assert times == sorted(times)
    between = 1000 * len(pcm) / RATE
    assert times[2] > between
    assert committed[1]["previous_item_id"] == committed[0]["item_id"]


@pytest.mark.parametrize("kind", ["audio/pcm", *SUBTYPES])
def test_a_text_is_spoken(today: Checked, model: SpeechToText, tmp_path: Path, kind: str) -> None:
    today.connection.session.update(
        session={
            "type": "realtime",
            "instructions": "Answer in verse.",
            "audio": {"output": {"format": {"type": kind}, "voice": "alloy"}},
        }
    )
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": SENTENCE}],
    }
    for _ in range(2):
        today.connection.conversation.item.create(item=item)
        today.connection.response.create()
        events = today.until("response.done")
        done = events[-1]["response"]
        assert (done["status"], len(done["output"])) == ("completed", 1)
        assert done["output"][0]["content"][0]["transcript"] == SENTENCE
        assert deltas(events, "response.output_audio_transcript.delta") == SENTENCE
        assert len(of(events, "response.output_audio.delta")) > 5
        kinds = [event["type"] for event in events]
        order = ("response.created", "response.output_item.added", "response.output_audio.delta")
        assert sorted(order, key=kinds.index) == list(order)
        data = speech_of(events)
        if kind == "audio/pcm":
            heard = decode(data, "s16le")
        else:
            path = tmp_path / "speech.raw"
            path.write_bytes(data)
            heard, _ = soundfile.read(
                path, samplerate=8000, channels=1, subtype=SUBTYPES[kind], format="RAW"
            )
            assert len(heard) / 8000 == pytest.approx(done["usage"]["output_tokens"] / 12.5, abs=1)
            continue
        assert " ".join(word.text for word in model.transcribe(heard)) == SENTENCE


def test_a_response_is_cancelled(today: Checked) -> None:
    content = [{"type": "input_text", "text": f"{SENTENCE} " * 50}]
    item = {"type": "message", "role": "user", "content": content}
    today.connection.response.create(response={"conversation": "none", "input": [item]})
    today.until("response.output_audio.delta")
    today.connection.response.cancel()
    done = today.until("response.done")[-1]["response"]
    assert (done["status"], done["conversation_id"]) == ("cancelled", None)
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


def test_an_error_is_an_event_and_the_session_goes_on(today: Checked) -> None:
    wrong = {
        "output_audio_buffer.clear": "unknown_event",
        "response.cancel": "response_cancel_not_active",
        "response.create": "nothing_to_speak",
        "input_audio_buffer.commit": "input_audio_buffer_commit_empty",
        "conversation.item.delete": "invalid_value",
    }
    for kind, code in wrong.items():
        today.connection.send({"type": kind, "event_id": "mine"})
        error = today.next()
        assert (error["type"], error["error"]["code"]) == ("error", code)
        assert error["error"]["event_id"] == "mine"
    today.connection.input_audio_buffer.clear()
    assert today.next()["type"] == "input_audio_buffer.cleared"


def test_items_are_kept_and_deleted(today: Checked) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}
    today.connection.conversation.item.create(item=item)
    made = today.until("conversation.item.done")[-1]["item"]
    today.connection.conversation.item.retrieve(item_id=made["id"])
    assert today.next()["item"] == made
    today.connection.conversation.item.delete(item_id=made["id"])
    assert today.next()["type"] == "conversation.item.deleted"


def test_the_beta_transcribes(client: "openai.OpenAI", pcm: Array, text: str) -> None:
    from openai.types.beta.realtime import RealtimeServerEvent

    with client.beta.realtime.connect(
        model="gpt-4o-realtime-preview", extra_query={"intent": "transcription"}
    ) as connection:
        assert json.loads(connection.recv_bytes())["type"] == "transcription_session.created"
        beta = Checked(connection, RealtimeServerEvent)
        connection.transcription_session.update(
            session={
                "input_audio_format": "pcm16",
                "input_audio_transcription": {"model": "whisper-1", "prompt": "An alarm."},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
            }
        )
        updated = beta.until("transcription_session.updated")[-1]["session"]
        assert updated["turn_detection"]["silence_duration_ms"] == 300
        beta.append(encode(np.concatenate([pcm, np.zeros(2 * RATE, np.float32)]), "s16le"))
        events = beta.until(f"{TRANSCRIPTION}.completed")
        assert events[-1]["transcript"] == text
        assert of(events, "conversation.item.created")


def test_the_beta_speaks(client: "openai.OpenAI", model: SpeechToText) -> None:
    from openai.types.beta.realtime import RealtimeServerEvent

    with client.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
        beta = Checked(connection, RealtimeServerEvent)
        assert beta.next()["type"] == "session.created"
        connection.session.update(session={"voice": "verse", "modalities": ["text", "audio"]})
        beta.until("session.updated")
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": SENTENCE}],
        }
        connection.conversation.item.create(item=item)
        connection.response.create()
        events = beta.until("response.done")
        assert deltas(events, "response.audio_transcript.delta") == SENTENCE
        heard = decode(speech_of(events, "response.audio.delta"), "s16le")
        assert " ".join(word.text for word in model.transcribe(heard)) == SENTENCE
