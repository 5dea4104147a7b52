"""Messages of moshi-server's speech to text, byte for byte, and when a client gets which."""

import json
from typing import Any

import pytest

pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")

import msgpack
import numpy as np

from kyutai_onnx.models import events
from kyutai_onnx.server.moshi_server import messages
from kyutai_onnx.server.moshi_server.messages import (
    AudioMessage,
    EndWordMessage,
    ErrorMessage,
    InitMessage,
    MarkerMessage,
    OggOpusMessage,
    PingMessage,
    ReadyMessage,
    StepMessage,
    SttReply,
    WordMessage,
)
from kyutai_onnx.server.moshi_server.stt import SttAdapter
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.messagepack import pack

HALF = bytes.fromhex("82a474797065a5417564696fa370636d91ca3f000000")
"""{"type": "Audio", "pcm": [0.5]} as Rust's rmp_serde writes it."""
NOISE = np.random.default_rng(0).normal(0, 0.1, 1920).astype(np.float32)


def as_rust(**fields: Any) -> bytes:
    """As a client in Python packs: floats of 32 bits."""
    packed: bytes = msgpack.packb(fields, use_bin_type=True, use_single_float=True)
    return packed


def recognized(data: bytes) -> np.ndarray[Any, Any]:
    message = messages.parse_stt_request(data)
    assert isinstance(message, AudioMessage)
    assert message.pcm.dtype == np.float32
    return message.pcm


def test_audio_is_packed_as_rust_packs_it() -> None:
    assert pack(AudioMessage(np.array([0.5], np.float32))) == HALF
    packed = pack(AudioMessage(NOISE))
    assert len(packed) == 9619
    assert packed == as_rust(type="Audio", pcm=NOISE.tolist())
    assert np.array_equal(recognized(packed), NOISE)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65535, 65536])
def test_any_number_of_samples_is_packed(count: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    packed = pack(AudioMessage(samples))
    assert packed == as_rust(type="Audio", pcm=samples.tolist())
    assert np.array_equal(recognized(packed), samples)


@pytest.mark.parametrize(
    "numbers",
    [
        [0.5, -0.25],
        [0, 1, -1, 127, 128, -129, 70000],
        [0.0, 0, 0.1, -1, 1e-3],
        [2**64 - 1, -(2**63)],
    ],
    ids=["floats", "integers", "mixed", "large"],
)
@pytest.mark.parametrize("single", [True, False], ids=["f32", "f64"])
def test_samples_may_be_any_numbers(numbers: list[float], single: bool) -> None:
    data = msgpack.packb({"pcm": numbers, "type": "Audio"}, use_single_float=single)
    assert np.array_equal(recognized(data), np.array(numbers, np.float32))


@pytest.mark.parametrize(
    "message",
    [
        InitMessage(),
        PingMessage(),
        MarkerMessage(0),
        MarkerMessage(-(2**63)),
        MarkerMessage(2**63 - 1),
        OggOpusMessage(bytes(range(256))),
    ],
)
def test_requests_come_back_as_they_were_packed(message: messages.SttRequest) -> None:
    assert messages.parse_stt_request(pack(message)) == message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (ReadyMessage(), {"type": "Ready"}),
        (MarkerMessage(7), {"type": "Marker", "id": 7}),
        (WordMessage("là", 1.28), {"type": "Word", "text": "là", "start_time": 1.28}),
        (EndWordMessage(2.0), {"type": "EndWord", "stop_time": 2.0}),
        (ErrorMessage("no free channels"), {"type": "Error", "message": "no free channels"}),
    ],
)
def test_replies_are_packed_as_rust_packs_them(message: SttReply, fields: dict[str, Any]) -> None:
    packed = pack(message)
    assert packed == msgpack.packb(fields)  # float64, and the type first
    assert messages.parse_stt_reply(packed) == message


def test_a_step_is_packed_with_float32() -> None:
    step = StepMessage(408, (0.5, 0.25, 0.75, 1.0), 960)
    fields = {"type": "Step", "step_idx": 408, "prs": list(step.prs), "buffered_pcm": 960}
    assert pack(step) == as_rust(**fields)
    assert messages.parse_stt_reply(pack(step)) == step


def test_bytes_come_as_integers_or_as_bytes() -> None:
    data = bytes(range(256)) * 3
    assert pack(OggOpusMessage(data)) == msgpack.packb({"type": "OggOpus", "data": list(data)})
    for size in (1, 300, 70000):
        packed = msgpack.packb({"type": "OggOpus", "data": data[:1] * size})
        assert messages.parse_stt_request(packed) == OggOpusMessage(data[:1] * size)


def test_more_fields_are_passed_over() -> None:
    deep: Any = None
    for _ in range(300):
        deep = [deep]
    fields = {"deep": deep, "id": 3, "at": msgpack.Timestamp(0), "type": "Marker", "n": {"": []}}
    assert messages.parse_stt_request(msgpack.packb(fields)) == MarkerMessage(3)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": "Marker"}, "`id`"),
        ({"id": 1}, "`type`"),
        ({"type": "Stop"}, "'Stop'"),
        ({"type": "a\n" * 200}, r"'a\\na"),
        ({"type": 3}, "type"),
        ({"type": ["Init"]}, "type"),
        ({"type": "Marker", "id": 1.5}, "id"),
        ({"type": "Marker", "id": True}, "id"),
        ({"type": "Marker", "id": 2**63}, "id"),
        ({"type": "Audio", "pcm": 0.5}, "array"),
        ({"type": "Audio", "pcm": b"\0\0"}, "array"),
        ({"type": "Audio", "pcm": [0.5, "a"]}, "float"),
        ({"type": "Audio", "pcm": [0.5, None]}, "float"),
        ({"type": "Audio", "pcm": [0, True]}, "float"),
        ({"type": "Audio", "pcm": [[0.5]]}, "float"),
        ({"type": "Audio", "pcm": [0.5] * 2**20 + [0]}, "1048576"),
        ({"type": "Audio", "pcm": [0.5, float("nan")]}, "not finite"),
        ({"type": "Audio", "pcm": [0, float("inf")]}, "not finite"),
        ({"type": "Audio", "pcm": [1e39]}, "not finite"),
        ({"type": "OggOpus", "data": [256]}, "255"),
        ({"type": "OggOpus", "data": [-1]}, "data"),
        ({"type": "OggOpus", "data": [0.5]}, "data"),
        ({"type": "OggOpus", "data": "text"}, "data"),
        ({"type": "OggOpus", "data": [0] * (2**20 + 1)}, "1048576"),
        ({1: 1, "type": "Init"}, "str"),
    ],
)
def test_what_is_no_message_is_refused(fields: dict[Any, Any], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        messages.parse_stt_request(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\x90", "object"),
        (b"\xc1", "opcode"),
        (HALF[:-1], "truncated"),
        (HALF + b"\0", "trailing"),
        (b"\x81\xa4type\xa4\xff\xff\xff\xff", "UTF-8"),
        (b"\x82\xa4type\xa4Init\xa1x" + b"\x91" * 2**20 + b"\0", "recursion"),
        (b"\x82\xa4type\xa5Audio\xa3pcm\xdd\xff\xff\xff\xff", "truncated"),
        (bytes(64 * 2**20 + 1), "at most 67108864"),
    ],
    ids=["nothing", "array", "none", "cut", "more", "utf-8", "deep", "long", "huge"],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        messages.parse_stt_request(data)


def reported(*given: events.Event) -> list[SttReply]:
    rules = SttAdapter()
    return [message for event in given for message in rules.report(event)]


def test_a_frame_reports_its_step_then_the_word_then_its_end() -> None:
    pauses = (0.1, 0.2, 0.3, 0.4)
    assert reported(
        events.Step(4, pauses), events.WordStarted("one", 0.24), events.Word("one", 0.24, 0.4)
    ) == [StepMessage(4, pauses, 0), WordMessage("one", 0.24), EndWordMessage(0.4)]


def test_a_step_reports_how_much_waits() -> None:
    assert SttAdapter().report(events.Step(0, (0.5,)), 4800) == [StepMessage(0, (0.5,), 4800)]


def test_a_model_without_heads_reports_no_steps() -> None:
    assert reported(events.Step(0, ()), events.WordStarted("one", 0.0)) == [WordMessage("one", 0.0)]


def test_words_that_no_boundary_parts_end_once() -> None:
    assert reported(
        events.WordStarted("one two", 0.0),
        events.WordStarted("s three", 0.0),
        events.Word("one", 0.0, 0.1),
        events.Word("twos", 0.1, 0.2),
        events.Word("three", 0.2, 0.8),
        events.WordStarted("four", 0.8),
        events.Word("four", 0.8, 1.0),
    ) == [
        WordMessage("one two", 0.0),
        WordMessage("s three", 0.0),
        EndWordMessage(0.8),
        WordMessage("four", 0.8),
        EndWordMessage(1.0),
    ]


def test_nothing_else_is_reported() -> None:
    others = [
        events.SpeechStarted(0.0),
        events.Pause(1.0, 0.9),
        events.EndOfTurn(1.0),
        events.Restart(1.0),
        events.Text("a"),
    ]
    assert reported(*others) == []


@pytest.mark.parametrize("again", [True, False], ids=["restarted", "at the next boundary"])
def test_what_was_received_and_never_closed_is_forgotten(again: bool) -> None:
    rules = SttAdapter()
    rules.report(events.WordStarted("heard otherwise", 0.0))
    if again:
        assert rules.start() == ReadyMessage()
    else:
        assert rules.report(events.Word("heard", 0.0, 0.4)) == []
    assert rules.report(events.WordStarted("a", 0.4)) == [WordMessage("a", 0.4)]
    assert rules.report(events.Word("a", 0.4, 0.5)) == [EndWordMessage(0.5)]


def test_there_is_one_error() -> None:
    assert SttAdapter().refuse() == ErrorMessage("no free channels")


def test_a_post_is_answered_with_json() -> None:
    replies = [WordMessage("a", 0.4), EndWordMessage(0.9)]
    assert json.dumps([reply.fields for reply in replies]) == (
        '[{"type": "Word", "text": "a", "start_time": 0.4}, {"type": "EndWord", "stop_time": 0.9}]'
    )
