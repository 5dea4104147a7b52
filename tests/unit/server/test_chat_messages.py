"""The messages of /api/chat, byte for byte, and when a client gets which."""

import json

import numpy as np
import pytest

pytest.importorskip("av", reason="the serve extra is not installed")

from kyutai_onnx.models import events
from kyutai_onnx.server.moshi_server.chat import ChatAdapter
from kyutai_onnx.server.moshi_server.messages import (
    ChatAudio,
    ChatError,
    ChatHandshake,
    ChatMessage,
    ChatMetadata,
    ChatPing,
    ChatText,
    pack_chat,
    parse_chat,
)
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder

TONE = np.sin(np.arange(1920) / 10).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0" + bytes(8), ChatHandshake()),
        (b"\1OggS", ChatAudio(b"OggS")),
        (b"\2 l\xc3\xa0", ChatText(" là")),
        (b'\4{"text_topk": 25}', ChatMetadata({"text_topk": 25})),
        (b"\5full", ChatError("full")),
        (b"\6", ChatPing()),
    ],
)
def test_each_kind_is_read_and_written(data: bytes, message: ChatMessage) -> None:
    assert parse_chat(data) == message
    assert pack_chat(message) == data


def test_a_handshake_of_any_server_is_one() -> None:
    assert parse_chat(b"\0") == parse_chat(b"\0\0\0") == ChatHandshake()


@pytest.mark.parametrize("data", [b"", b"\3\1", b"\7\3 a", b"\x0a", b"\xff\0", b"OggS"])
def test_what_is_not_known_is_passed_over(data: bytes) -> None:
    assert parse_chat(data) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\2\xff", "text that is not UTF-8"),
        (b"\4[]", "no JSON object"),
        (b"\4{", "no JSON"),
        (b'\4{"a": NaN}', "no JSON"),
        (b'\4{"a": 1e999}', "no JSON"),
        (b"\4" + b"[" * 100000, "no JSON"),
        (b"\4" + b" " * 2**20 + b"{}", "at most 1048576"),
        (b"\5\xff", "error that is not UTF-8"),
        (b"\1" + bytes(64 * 2**20), "at most 67108864"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_payload_of_another_kind_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        parse_chat(data)


def test_a_client_is_reported_that_it_has_a_place() -> None:
    assert ChatAdapter().start() == [b"\0" + bytes(8)]
    metadata, handshake = ChatAdapter().start({"text_topk": 25})
    assert json.loads(metadata[1:]) == {"text_topk": 25}
    assert (metadata[0], handshake) == (4, b"\0" + bytes(8))


def test_audio_comes_before_the_text_of_its_frame() -> None:
    rules = ChatAdapter()
    frame = [events.Audio(TONE), events.Text(" a"), events.Word("a", 0.0, 0.1)]
    audio, text = [message for event in frame for message in rules.report(event)]
    assert audio[:5] == b"\1OggS"
    assert audio.count(b"OggS") == 4  # head, tags, and two packets
    assert text == b"\2 a"


def test_what_one_says_the_other_receives() -> None:
    server, client = ChatAdapter(), OpusDecoder()
    messages = server.report(events.Audio(TONE[:500]))
    assert len(messages[0]) == 1 + 102  # the header alone
    messages += server.report(events.Audio(TONE)) + server.end() + server.end()
    audio = [said for m in messages if isinstance(said := parse_chat(m), ChatAudio)]
    assert sum(len(client.push(said.data)) for said in audio) == 3 * 960
