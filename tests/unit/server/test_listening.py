"""Messages of moshi-server's speech to text, byte for byte, and what a client is told when."""

import json
from typing import Any

import pytest

pytest.importorskip("msgpack", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")

import msgpack
import numpy as np

from kyutai_onnx.models import events
from kyutai_onnx.server.moshi_server import stt_messages as listening
from kyutai_onnx.server.moshi_server.stt_adapter import SttAdapter
from kyutai_onnx.server.moshi_server.stt_messages import (
    Audio,
    EndWord,
    Error,
    Init,
    Marker,
    OggOpus,
    Ping,
    Ready,
    Reply,
    Step,
    Word,
)
from kyutai_onnx.server.wire import arrays
from kyutai_onnx.server.wire import messagepack as tagged
from kyutai_onnx.server.wire.errors import ProtocolError

HALF = bytes.fromhex("82a474797065a5417564696fa370636d91ca3f000000")
"""{"type": "Audio", "pcm": [0.5]} as Rust's rmp_serde writes it."""
NOISE = np.random.default_rng(0).normal(0, 0.1, 1920).astype(np.float32)


def as_rust(**fields: Any) -> bytes:
    """As a client in Python packs: floats of 32 bits."""
    packed: bytes = msgpack.packb(fields, use_bin_type=True, use_single_float=True)
    return packed


def heard(data: bytes) -> np.ndarray[Any, Any]:
    message = listening.parse(data)
    assert isinstance(message, Audio)
    assert message.pcm.dtype == np.float32
    return message.pcm


def test_audio_is_packed_as_rust_packs_it() -> None:
    assert listening.pack(Audio(np.array([0.5], np.float32))) == HALF
    packed = listening.pack(Audio(NOISE))
    assert len(packed) == 9619
    assert packed == as_rust(type="Audio", pcm=NOISE.tolist())
    assert np.array_equal(heard(packed), NOISE)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65535, 65536])
def test_any_number_of_samples_is_packed(count: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    packed = listening.pack(Audio(samples))
    assert packed == as_rust(type="Audio", pcm=samples.tolist())
    assert np.array_equal(heard(packed), samples)


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
    assert np.array_equal(heard(data), np.array(numbers, np.float32))


@pytest.mark.parametrize(
    "message",
    [Init(), Ping(), Marker(0), Marker(-(2**63)), Marker(2**63 - 1), OggOpus(bytes(range(256)))],
)
def test_requests_come_back_as_they_were_packed(message: listening.Request) -> None:
    assert listening.parse(listening.pack(message)) == message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Ready(), {"type": "Ready"}),
        (Marker(7), {"type": "Marker", "id": 7}),
        (Word("là", 1.28), {"type": "Word", "text": "là", "start_time": 1.28}),
        (EndWord(2.0), {"type": "EndWord", "stop_time": 2.0}),
        (Error("no free channels"), {"type": "Error", "message": "no free channels"}),
    ],
)
def test_replies_are_packed_as_rust_packs_them(message: Reply, fields: dict[str, Any]) -> None:
    packed = listening.pack(message)
    assert packed == msgpack.packb(fields)  # float64, and the type first
    assert listening.parse_reply(packed) == message


def test_a_step_is_packed_with_float32() -> None:
    step = Step(408, (0.5, 0.25, 0.75, 1.0), 960)
    fields = {"type": "Step", "step_idx": 408, "prs": list(step.prs), "buffered_pcm": 960}
    assert listening.pack(step) == as_rust(**fields)
    assert listening.parse_reply(listening.pack(step)) == step


def test_bytes_come_as_integers_or_as_bytes() -> None:
    data = bytes(range(256)) * 3
    assert listening.pack(OggOpus(data)) == msgpack.packb({"type": "OggOpus", "data": list(data)})
    for size in (1, 300, 70000):
        packed = msgpack.packb({"type": "OggOpus", "data": data[:1] * size})
        assert listening.parse(packed) == OggOpus(data[:1] * size)


def test_more_fields_are_passed_over() -> None:
    deep: Any = None
    for _ in range(300):
        deep = [deep]
    fields = {"deep": deep, "id": 3, "at": msgpack.Timestamp(0), "type": "Marker", "n": {"": []}}
    assert listening.parse(msgpack.packb(fields)) == Marker(3)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": "Marker"}, "without id"),
        ({"id": 1}, "without type"),
        ({"type": "Stop"}, "unknown type 'Stop'"),
        ({"type": 3}, "type is no text"),
        ({"type": ["Init"]}, "type is no text and no number"),
        ({"type": "Marker", "id": 1.5}, "id is no integer"),
        ({"type": "Marker", "id": True}, "id is no integer"),
        ({"type": "Marker", "id": 2**63}, "id is no integer"),
        ({"type": "Audio", "pcm": 0.5}, "no array"),
        ({"type": "Audio", "pcm": b"\0\0"}, "no array"),
        ({"type": "Audio", "pcm": [0.5, "a"]}, "no number"),
        ({"type": "Audio", "pcm": [0.5, None]}, "no number"),
        ({"type": "Audio", "pcm": [0, True]}, "no number"),
        ({"type": "Audio", "pcm": [[0.5]]}, "no number"),
        ({"type": "Audio", "pcm": [0.5, float("nan")]}, "not finite"),
        ({"type": "Audio", "pcm": [0, float("inf")]}, "not finite"),
        ({"type": "Audio", "pcm": [1e39]}, "not finite"),
        ({"type": "OggOpus", "data": [256]}, "no byte"),
        ({"type": "OggOpus", "data": [-1]}, "no byte"),
        ({"type": "OggOpus", "data": [0.5]}, "no number of the right kind"),
        ({"type": "OggOpus", "data": "text"}, "no array"),
        ({f"field {i}": i for i in range(65)}, "65 fields: at most 64"),
        ({"x" * 65: 1, "type": "Init"}, "no map"),
        ({1: 1, "type": "Init"}, "no name"),
    ],
)
def test_what_is_no_message_is_refused(fields: dict[Any, Any], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        listening.parse(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no map"),
        (b"\x90", "no map"),
        (b"\xc1", "no map"),
        (HALF[:-1], "no map"),
        (HALF + b"\0", "more behind it"),
        (b"\x81\xa4type\xa4\xff\xff\xff\xff", "type is no text"),
        (b"\x82\xa4type\xa4Init\xa1x" + b"\x91" * 2000 + b"\0", "no map"),
        (b"\x83\xa4type\xa4Init\xa1x\0\xa1x\0", "two of one name"),
        (b"\x82\xa4type\xa5Audio\xa3pcm\xdd\xff\xff\xff\xff", "no map"),
        (bytes(64 * 2**20 + 1), "at most 67108864"),
    ],
    ids=["nothing", "array", "none", "cut", "more", "utf-8", "deep", "twice", "long", "huge"],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        listening.parse(data)


@pytest.mark.parametrize(
    "message",
    [
        msgpack.packb({"type": "OggOpus", "data": [200] * 300_000}),
        msgpack.packb({"type": "Audio", "pcm": [0.5] * 100_000 + [1]}),
        msgpack.packb({"type": "Init", "x": [[None]] * 200_000}),
    ],
    ids=["bytes", "mixed", "nested"],
)
def test_a_large_message_is_parsed_in_pieces(
    message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two of them other threads run: msgpack lets none while it parses."""
    read: list[int] = []

    class Counted(arrays.Pieces):
        def read(self, size: int) -> bytes:
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(arrays, "Pieces", Counted)
    monkeypatch.setattr(tagged, "Pieces", Counted)
    listening.parse(message)
    assert sum(read) >= len(message)
    assert max(read) <= 1 << 16


def told(*given: events.Event) -> list[Reply]:
    rules = SttAdapter()
    return [message for event in given for message in rules.tell(event)]


def test_a_frame_tells_its_step_then_the_word_then_its_end() -> None:
    pauses = (0.1, 0.2, 0.3, 0.4)
    assert told(
        events.Step(4, pauses), events.WordHeard("one", 0.24), events.Word("one", 0.24, 0.4)
    ) == [Step(4, pauses, 0), Word("one", 0.24), EndWord(0.4)]


def test_a_step_tells_how_much_waits() -> None:
    assert SttAdapter().tell(events.Step(0, (0.5,)), 4800) == [Step(0, (0.5,), 4800)]


def test_a_model_without_heads_tells_no_steps() -> None:
    assert told(events.Step(0, ()), events.WordHeard("one", 0.0)) == [Word("one", 0.0)]


def test_words_that_no_boundary_parts_end_once() -> None:
    assert told(
        events.WordHeard("one two", 0.0),
        events.WordHeard("s three", 0.0),
        events.Word("one", 0.0, 0.1),
        events.Word("twos", 0.1, 0.2),
        events.Word("three", 0.2, 0.8),
        events.WordHeard("four", 0.8),
        events.Word("four", 0.8, 1.0),
    ) == [
        Word("one two", 0.0),
        Word("s three", 0.0),
        EndWord(0.8),
        Word("four", 0.8),
        EndWord(1.0),
    ]


def test_nothing_else_is_told() -> None:
    others = [
        events.SpeechStarted(0.0),
        events.Pause(1.0, 0.9),
        events.EndOfTurn(1.0),
        events.Restart(1.0),
        events.Text("a"),
    ]
    assert told(*others) == []


@pytest.mark.parametrize("again", [True, False], ids=["begun anew", "at the next boundary"])
def test_what_was_heard_and_never_closed_is_forgotten(again: bool) -> None:
    rules = SttAdapter()
    rules.tell(events.WordHeard("heard otherwise", 0.0))
    if again:
        assert rules.begin() == Ready()
    else:
        assert rules.tell(events.Word("heard", 0.0, 0.4)) == []
    assert rules.tell(events.WordHeard("a", 0.4)) == [Word("a", 0.4)]
    assert rules.tell(events.Word("a", 0.4, 0.5)) == [EndWord(0.5)]


def test_there_is_one_error() -> None:
    assert SttAdapter().refuse() == Error("no free channels")


def test_a_post_is_answered_with_json() -> None:
    assert json.dumps(listening.as_json([Word("a", 0.4), EndWord(0.9)])) == (
        '[{"type": "Word", "text": "a", "start_time": 0.4}, {"type": "EndWord", "stop_time": 0.9}]'
    )
