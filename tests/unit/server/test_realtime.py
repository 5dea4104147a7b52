"""The Realtime API without sockets: settings in two shapes, turns, responses and their audio."""

from typing import Any

import numpy as np
import pytest

from kyutai_onnx.models.events import EndOfTurn, SpeechStarted, Step, Word, WordStarted
from kyutai_onnx.server.openai.realtime.adapter import InputAdapter, ResponseAdapter
from kyutai_onnx.server.openai.realtime.audio import InputDecoder, OutputEncoder
from kyutai_onnx.server.openai.realtime.beta import from_beta, to_beta
from kyutai_onnx.server.openai.realtime.conversation import MOST_ITEMS, Conversation
from kyutai_onnx.server.openai.realtime.messages import (
    ContentPart,
    ItemRequest,
    RealtimeError,
    parse_client_event,
)
from kyutai_onnx.server.openai.realtime.settings import SessionSettings

TRANSCRIPTION = "conversation.item.input_audio_transcription"
LISTENING = SessionSettings().updated(
    {
        "audio": {"input": {"transcription": {}, "turn_detection": {"type": "server_vad"}}},
        "include": ["item.input_audio_transcription.logprobs"],
    }
)
Event = dict[str, Any]


def listening(delay: float, settings: SessionSettings = LISTENING) -> InputAdapter:
    return InputAdapter(Conversation(100), settings, frame_rate=12.5, delay=delay, before=10.0)


def reported(adapter: InputAdapter, *events: object) -> list[Event]:
    return [report for event in events for report in adapter.report(event)]


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix(f"{TRANSCRIPTION}.") for event in events]


STEPS = [Step(index, (0.9,)) for index in range(40)]


def test_a_turn_is_complete_once_its_text_has_come() -> None:
    """The pause stands for half a second, and text is late by two and a half."""
    adapter = listening(2.5)
    events = reported(
        adapter,
        SpeechStarted(1.0),
        WordStarted("one", 1.0, 0.5),
        EndOfTurn(2.0),
        *STEPS[:20],
        WordStarted("two", 1.5, 0.5),
        *STEPS[:6],
    )
    assert kinds(events) == [
        "input_audio_buffer.speech_started",
        "delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "delta",
        "completed",
    ]
    assert (events[0]["audio_start_ms"], events[2]["audio_end_ms"]) == (10700, 12500)
    assert events[-1]["transcript"] == "one two"
    assert [token["token"] for token in events[-1]["logprobs"]] == ["one", " two"]
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


def test_a_word_belongs_to_the_turn_in_which_it_was_spoken() -> None:
    adapter = listening(2.5)
    events = reported(
        adapter,
        SpeechStarted(0.0),
        EndOfTurn(2.0),
        SpeechStarted(2.6),
        WordStarted("one", 1.0),
        WordStarted("two", 2.6),
        Word("One", 1.0, 1.2, 0.5),
        EndOfTurn(3.0),
        *STEPS,
    )
    first, second = (e["item_id"] for e in events if e["type"].endswith("speech_started"))
    found = {e["item_id"]: e["transcript"] for e in events if e["type"].endswith("completed")}
    assert found == {first: "One", second: "two"}


def test_the_end_of_a_word_whose_turn_is_over_changes_no_other() -> None:
    adapter = listening(0.5)
    events = reported(
        adapter,
        SpeechStarted(0.0),
        WordStarted("one", 0.2),
        EndOfTurn(1.0),
        *STEPS[:2],
        SpeechStarted(3.0),
        Word("one", 0.2, 3.0, 0.5),
        WordStarted("two", 3.1),
        EndOfTurn(4.0),
        *STEPS[:2],
    )
    transcripts = [e["transcript"] for e in events if e["type"].endswith("completed")]
    assert transcripts == ["one", "two"]


def test_a_commit_takes_what_is_left_of_a_stream() -> None:
    adapter = listening(2.5)
    reported(adapter, SpeechStarted(0.0), EndOfTurn(1.0))
    committed = adapter.commit(4.0)
    assert kinds(committed)[0] == "input_audio_buffer.committed"
    late = reported(adapter, SpeechStarted(2.0), WordStarted("one", 0.5), WordStarted("two", 3.0))
    assert kinds(late) == ["delta", "delta"]
    last = adapter.finish()
    assert [event["transcript"] for event in last] == ["one", "two"]
    assert last[1]["usage"]["seconds"] == 3.0


def test_a_stream_that_fails_says_so_of_every_item() -> None:
    adapter = listening(2.5)
    reported(adapter, SpeechStarted(0.0), EndOfTurn(1.0), SpeechStarted(2.0))
    failed = adapter.fail("a reason", "server_error")
    assert kinds(failed) == ["failed", "failed"]
    assert {event["error"]["message"] for event in failed} == {"a reason"}
    assert not adapter.finish()


def test_without_transcription_turns_are_found_all_the_same() -> None:
    settings = LISTENING.updated({"audio": {"input": {"transcription": None}}})
    events = reported(
        listening(0.5, settings), SpeechStarted(0.0), WordStarted("a", 0.1), EndOfTurn(1.0), *STEPS
    )
    assert not any(event["type"].startswith(TRANSCRIPTION) for event in events)
    assert "input_audio_buffer.committed" in kinds(events)


def test_settings_are_updated_in_part() -> None:
    changed = SessionSettings().updated(
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
    )
    again = changed.updated(
        {"audio": {"output": {"voice": {"id": "calm"}, "speed": 1.5, "format": None}}}
    )
    assert again.audio.input == changed.audio.input
    assert (again.audio.output.voice, again.audio.output.speed) == ("calm", 1.5)
    turns = again.audio.input.turn_detection
    assert turns is not None
    assert turns.policy.hold == 2.0
    off = again.updated({"audio": {"input": {"turn_detection": None}}})
    assert off.audio.input.turn_detection is None
    assert off.audio.output == again.audio.output


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"audio": 3}, "session.audio"),
        ({"audio": {"input": {"format": {"rate": 16000}}}}, "session.audio.input.format.rate"),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"output_modalities": ["text"]}, "session.output_modalities[0]"),
        ({"modalities": ["text"]}, "session.output_modalities[0]"),
        ({"input_audio_format": "mp3"}, "session.audio.input.format.type"),
        ({"tools": [{}]}, "session.tools"),
        ({"turn_detection": {"threshold": 1}}, "session.audio.input.turn_detection"),
    ],
)
def test_a_setting_that_is_refused_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(RealtimeError) as refused:
        SessionSettings().updated(from_beta(change))
    assert refused.value.param == param


def test_the_beta_has_its_own_names() -> None:
    change = {
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"threshold": 0.25},
        "modalities": ["audio", "text"],
    }
    settings = SessionSettings().updated(from_beta(change))
    described = settings.describe("sess_1", "x")
    shown = to_beta({"type": "session.updated", "session": described})
    assert shown is not None
    session = shown["session"]
    assert {name: session[name] for name in list(change)[:2]} == dict(list(change.items())[:2])
    assert session["turn_detection"]["threshold"] == 0.25
    assert settings.audio.input.turn_detection is not None
    assert settings.audio.input.turn_detection.policy.threshold == 0.75
    assert to_beta({"type": "conversation.item.done"}) is None


def message(text: str, name: str | None = None) -> ItemRequest:
    return ItemRequest(id=name, role="user", content=[ContentPart("input_text", text)])


def test_a_conversation_keeps_few_items_and_little_text() -> None:
    conversation = Conversation(200)
    conversation.create(message("a", "first"))
    with pytest.raises(RealtimeError, match="taken"):
        conversation.create(message("a", "first"))
    with pytest.raises(RealtimeError, match="200"):
        conversation.create(message("b" * 200))
    for _ in range(MOST_ITEMS - 1):
        conversation.create(message("b"))
    with pytest.raises(RealtimeError, match=str(MOST_ITEMS)):
        conversation.create(message("b"))
    assert conversation.take_text().split() == ["a", *["b"] * (MOST_ITEMS - 1)]
    assert conversation.take_text() == ""
    conversation.create(message("c"))
    with pytest.raises(RealtimeError):
        conversation.get("first")


def test_only_messages_of_users_are_spoken() -> None:
    conversation = Conversation(200)
    for role in ("assistant", "system"):
        conversation.create(ItemRequest(role=role, content=[ContentPart("output_text", "no")]))
    conversation.create(message("yes"))
    assert conversation.take_text() == "yes"
    with pytest.raises(RealtimeError, match="function_call"):
        conversation.create(ItemRequest(type="function_call"))


def test_a_response_without_a_conversation_adds_nothing_to_any() -> None:
    adapter = ResponseAdapter(None, SessionSettings(), {"a": "b"})
    events = [*adapter.start(), *adapter.word("one"), *adapter.end("failed", error={"code": "x"})]
    assert not any(event["type"].startswith("conversation") for event in events)
    response = events[-1]["response"]
    assert response["status_details"] == {"type": "failed", "error": {"code": "x"}}
    assert (response["conversation_id"], response["metadata"]) == (None, {"a": "b"})


@pytest.mark.parametrize("kind", ["audio/pcm", "audio/pcmu", "audio/pcma"])
@pytest.mark.parametrize("step", [1, 777, 100_000])
def test_audio_comes_and_goes_in_pieces_of_any_size(kind: str, step: int) -> None:
    tone = (0.5 * np.sin(np.arange(12000) * 2 * np.pi * 440 / 24000)).astype(np.float32)
    encoder, decoder = OutputEncoder(kind, 24000), InputDecoder(kind, 24000)
    parts = [encoder.push(tone[start : start + 1920]) for start in range(0, len(tone), 1920)]
    data = b"".join(parts) + encoder.flush()
    pieces = [decoder.push(data[start : start + step]) for start in range(0, len(data), step)]
    found = np.concatenate([*pieces, decoder.flush()])
    assert decoder.seconds == pytest.approx(0.5, abs=0.001)
    assert len(found) == pytest.approx(len(tone), abs=30)
    middle = slice(2000, 10000)
    assert np.abs(found[middle] - tone[middle]).max() < 0.03


def test_only_audio_may_be_long() -> None:
    with pytest.raises(RealtimeError, match="at most") as refused:
        parse_client_event(b'{"type": "response.create", "event_id": "a"' + b" " * 2**20 + b"}")
    assert refused.value.event_id == "a"
    assert parse_client_event(
        b'{"type": "input_audio_buffer.append", "audio": "' + b"AAAA" * 2**19 + b'"}'
    )
