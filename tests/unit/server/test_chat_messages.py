"""The messages of /api/chat, byte for byte, and what a client is told when."""

import json

import numpy as np
import pytest

pytest.importorskip("av", reason="the serve extra is not installed")

from kyutai_onnx.models import events
from kyutai_onnx.server.moshi_server import chat_messages as chat
from kyutai_onnx.server.moshi_server.chat_messages import (
    Action,
    Audio,
    ChatAdapter,
    Codes,
    Control,
    Error,
    Handshake,
    Image,
    Message,
    Metadata,
    Ping,
    Text,
)
from kyutai_onnx.server.wire.errors import ProtocolError
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder

TONE = np.sin(np.arange(1920) / 10).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0" + bytes(8), Handshake()),
        (b"\1OggS", Audio(b"OggS")),
        (b"\2 l\xc3\xa0", Text(" là")),
        (b"\3\0", Control(Action.START)),
        (b"\3\1", Control(Action.END_TURN)),
        (b"\3\2", Control(Action.PAUSE)),
        (b"\3\3", Control(Action.RESTART)),
        (b'\4{"text_topk": 25}', Metadata({"text_topk": 25})),
        (b"\5full", Error("full")),
        (b"\6", Ping()),
        (b"\7\3 a", Text(" a", 3)),
        (b"\x08\xff\xd8", Image(b"\xff\xd8")),
        (b"\x09\1\0\0\0\0\1\0\0", Codes((1, 256))),
    ],
)
def test_each_kind_is_read_and_written(data: bytes, message: Message) -> None:
    assert chat.parse(data) == message
    assert chat.pack(message) == data


def test_a_handshake_of_any_server_is_one() -> None:
    assert chat.parse(b"\0") == chat.parse(b"\0\0\0") == Handshake()


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\xff\0", b"OggS"])
def test_what_is_not_known_is_passed_over(data: bytes) -> None:
    assert chat.parse(data) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\2\xff", "no text"),
        (b"\3", "no control"),
        (b"\3\4", "no control"),
        (b"\4[]", "no JSON object"),
        (b"\4{", "no JSON"),
        (b'\4{"a": NaN}', "no JSON"),
        (b'\4{"a": 1e999}', "no JSON"),
        (b"\4" + b"[" * 100000, "no JSON"),
        (b"\4" + b" " * 2**20 + b"{}", "at most 1048576"),
        (b"\5\xff", "no error"),
        (b"\7", "no colored_text"),
        (b"\x09\1", "no codes"),
        (b"\x09" + bytes(1028), "257 codes"),
        (b"\1" + bytes(64 * 2**20), "at most 67108864"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_payload_of_another_kind_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        chat.parse(data)


def test_a_client_is_told_that_it_has_a_place() -> None:
    assert ChatAdapter().begin() == [b"\0" + bytes(8)]
    metadata, handshake = ChatAdapter().begin({"text_topk": 25})
    assert json.loads(metadata[1:]) == {"text_topk": 25}
    assert (metadata[0], handshake) == (4, b"\0" + bytes(8))


def test_audio_comes_before_the_text_of_its_frame() -> None:
    rules = ChatAdapter()
    frame = [events.Audio(TONE), events.Text(" a"), events.Word("a", 0.0, 0.1)]
    audio, text = [message for event in frame for message in rules.tell(event)]
    assert audio[:5] == b"\1OggS"
    assert audio.count(b"OggS") == 4  # head, tags, and two packets
    assert text == b"\2 a"


def test_what_one_says_the_other_hears() -> None:
    server, client = ChatAdapter(), OpusDecoder()
    messages = server.tell(events.Audio(TONE[:500]))
    assert len(messages[0]) == 1 + 102  # the header alone
    messages += server.tell(events.Audio(TONE)) + server.finish() + server.finish()
    audio = [said for m in messages if isinstance(said := chat.parse(m), chat.Audio)]
    assert sum(len(client.push(said.data)) for said in audio) == 3 * 960
