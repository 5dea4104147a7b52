"""Whatever strangers send, a parser returns what it means or raises ProtocolError, and keeps to its
bounds. How many inputs are tried: see mutations.py."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="fuzzes by hypothesis")
pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")
pytest.importorskip("wyoming", reason="the serve extra is not installed")

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from support.mutations import broken, cuts, fuzzed, pieces
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)

from kyutai_onnx.server.moshi_server import messages
from kyutai_onnx.server.moshi_server.messages import ChatAudio, pack_chat, parse_chat
from kyutai_onnx.server.moshi_server.tts import TtsAdapter
from kyutai_onnx.server.openai.realtime.beta import from_beta
from kyutai_onnx.server.openai.realtime.conversation import Conversation
from kyutai_onnx.server.openai.realtime.messages import (
    AppendAudio,
    ClientEvent,
    CreateItem,
    CreateResponse,
    RealtimeError,
    UpdateSession,
    UpdateTranscriptionSession,
    parse_client_event,
)
from kyutai_onnx.server.openai.realtime.settings import SessionSettings
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.messagepack import pack
from kyutai_onnx.server.wire.ogg_opus import (
    MOST_SECONDS,
    OggReader,
    OggWriter,
    OpusDecoder,
    OpusEncoder,
)
from kyutai_onnx.server.wyoming.adapter import ChunkDecoder, TextRequests
from kyutai_onnx.server.wyoming.messages import EventReader, pack_event, parse_request

REALTIME = [
    b'{"type": "session.update", "event_id": "a", "session": {"type": "transcription", "audio": '
    b'{"input": {"format": {"type": "audio/pcmu"}, "transcription": {"keywords": ["a"]}, '
    b'"turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200}}}}}',
    b'{"type": "transcription_session.update", "session": {"input_audio_format": "g711_ulaw", '
    b'"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}',
    b'{"type": "input_audio_buffer.append", "audio": "AAECAwQF"}',
    b'{"type": "conversation.item.create", "item": {"type": "message", "role": "user", '
    b'"content": [{"type": "input_text", "text": "seven \\u2603"}]}}',
    b'{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, '
    b'"audio_end_ms": 10}',
    b'{"type": "response.create", "response": {"voice": "alloy", "output_audio_format": "pcm16", '
    b'"input": [{"content": []}], "metadata": {"a": "b"}, "audio": {"output": {"speed": 1.5}}}}',
]
NOISE = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
OPUS = OpusEncoder().push(NOISE[:4800])
PACKETS = [packet.data for packet in OggReader().push(OPUS)]
LISTENING = [
    *(pack(message) for message in (messages.InitMessage(), messages.MarkerMessage(-7))),
    pack(messages.AudioMessage(NOISE[:40])),
    pack(messages.OggOpusMessage(OPUS[:150])),
    msgpack.packb({"type": "Audio", "pcm": [0, 0.5, -1, 7], "more": [{"a": [b"b", None]}]}),
    msgpack.packb({"type": "OggOpus", "data": b"OggS", "at": msgpack.Timestamp(1)}),
    pack(messages.StepMessage(5, (0.1, 0.2, 0.3, 0.4), 1920)),
    pack(messages.WordMessage("où", 0.4)),
    pack(messages.EndWordMessage(0.9)),
    pack(messages.ErrorMessage("no free channels")),
]
SPEAKING = [
    b"\0",
    pack(messages.TextMessage('one <break time="1s"/> two')),
    pack(messages.VoiceMessage(NOISE[:12], (1, 3, 4))),
    pack(messages.EosMessage()),
    pack(messages.AudioMessage(NOISE[:40])),
    pack(messages.OggOpusMessage(OPUS[:150])),
    pack(messages.TimedTextMessage("a", 0.1, 0.2)),
]
CHAT = [
    *(bytes([kind]) + bytes(8) for kind in range(11)),
    b"\1" + OPUS,
    b'\4{"text_topk": 25, "build_info": {"git_hash": ""}}',
    b"\7\3 a",
]
WYOMING = [
    b"".join(map(pack_event, messages))
    for messages in (
        [Describe(), Ping("a")],
        [
            Transcribe("a", "en"),
            AudioStart(16000, 2, 1),
            AudioChunk(16000, 2, 1, bytes(64)),
            AudioStop(),
        ],
        [
            SynthesizeStart(SynthesizeVoice("a")),
            SynthesizeChunk("a"),
            Synthesize("a"),
            SynthesizeStop(),
        ],
    )
]


def result(parse: Callable[[], Any]) -> Any:
    """What it returns, or that it refused."""
    try:
        return parse()
    except ProtocolError as error:
        why = str(error)
    assert "\n" not in why
    assert len(why) < 400
    return ProtocolError


@fuzzed
@given(broken(LISTENING))
def test_messages_of_speech_to_text(data: bytes) -> None:
    for parse in (messages.parse_stt_request, messages.parse_stt_reply):
        message = result(lambda parse=parse: parse(data))  # type: ignore[misc]
        if isinstance(message, messages.AudioMessage):
            assert np.isfinite(message.pcm).all()
            assert message.pcm.nbytes <= 4 * len(data)
        elif message is not ProtocolError:
            assert parse(pack(message)) == message
        if isinstance(message, messages.OggOpusMessage):
            result(lambda message=message: OpusDecoder().push(message.data))  # type: ignore[misc]


@fuzzed
@given(broken(SPEAKING))
def test_messages_of_text_to_speech(data: bytes) -> None:
    for parse in (messages.parse_tts_request, messages.parse_tts_reply):
        message = result(lambda parse=parse: parse(data))  # type: ignore[misc]
        if isinstance(message, messages.TextMessage):
            result(lambda message=message: rules().read(message.text))  # type: ignore[misc]


TAGS = st.sampled_from(["<break", ' time="', "1.5", "9" * 30, 's"', "/>", " ", "–", "(", ":", "\n"])


@fuzzed
@given(st.lists(st.lists(st.one_of(TAGS, st.text(max_size=9))).map("".join), max_size=4))
def test_texts_to_say(texts: list[str]) -> None:
    speaker = rules()
    for text in texts:
        read = result(lambda text=text: speaker.read(text))  # type: ignore[misc]
        if read is not ProtocolError:
            assert rules().read(read).split() == read.split()
    speaker.end()


def rules() -> TtsAdapter:
    return TtsAdapter(messages.TtsFormat.PCM_MESSAGE_PACK, 12.5)


@fuzzed
@given(broken(CHAT))
def test_messages_of_chat(data: bytes) -> None:
    message = result(lambda: parse_chat(data))
    if message not in (None, ProtocolError):
        assert parse_chat(pack_chat(message)) == message
    if isinstance(message, ChatAudio):
        result(lambda: OpusDecoder().push(message.data))


@fuzzed
@given(broken([OPUS]), cuts())
def test_pages_however_they_are_cut(data: bytes, places: list[float]) -> None:
    def read(given: list[bytes]) -> list[Any]:
        reader = OggReader()
        return list(until_refused(packet for piece in given for packet in reader.push(piece)))

    assert read(pieces(data, places)) == read([data])


def until_refused(items: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from items
    except ProtocolError:
        yield ProtocolError


@fuzzed
@given(st.lists(broken(PACKETS), max_size=4))
def test_packets_of_whole_pages(packets: list[bytes]) -> None:
    """The checksum holds, so that libopus gets them."""
    writer = OggWriter(1)
    data = b"".join(writer.page(packet, 0) for packet in [*PACKETS[:2], *packets])
    recognized = result(lambda: OpusDecoder().push(data))
    if recognized is not ProtocolError:
        assert np.isfinite(recognized).all()
        assert len(recognized) <= len(packets) * 2880
    writer = OggWriter(1)
    result(lambda: OpusDecoder().push(b"".join(writer.page(packet, 0) for packet in packets)))


@fuzzed
@given(broken(WYOMING), cuts())
def test_events_of_wyoming_however_they_are_cut(data: bytes, places: list[float]) -> None:
    def read(given: list[bytes]) -> list[Any]:
        reader = EventReader()
        return list(until_refused(event for piece in given for event in reader.push(piece)))

    events = read([data])
    assert read(pieces(data, places)) == events
    requests, decoder = TextRequests(), ChunkDecoder(24000)
    for event in events[: -1 if ProtocolError in events else None]:
        message = result(lambda event=event: parse_request(event))  # type: ignore[misc]
        if isinstance(message, AudioChunk):
            result(lambda message=message: decoder.push(message))  # type: ignore[misc]
        elif message not in (None, ProtocolError):
            result(lambda message=message: requests.read(message))  # type: ignore[misc]


@fuzzed
@given(broken(REALTIME))
def test_events_of_realtime(data: bytes) -> None:
    """A refusal is one short line, which quotes little of the client."""
    why = ""
    try:
        applied(parse_client_event(data))
    except RealtimeError as error:
        why = f"{error}{error.param or ''}"
    assert "\n" not in why
    assert len(why) < 1000


def applied(event: ClientEvent) -> None:
    """What a session does at once with an event."""
    match event:
        case UpdateSession(session=change) | UpdateTranscriptionSession(session=change):
            settings = SessionSettings().updated(from_beta(change))
            settings.describe("sess_1", "a")
        case CreateItem(item=item):
            Conversation(100).create(item)
        case CreateResponse(response=request) if request is not None:
            SessionSettings().updated(from_beta(request.settings))
        case AppendAudio(audio=audio):
            assert len(audio) < len(str(event))


def peak_of(parse: Callable[[], Any]) -> tuple[Any, int]:
    """What became of it, and how many bytes of Python's and numpy's it took at most."""
    tracemalloc.start()
    try:
        return result(parse), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SIZE = 2**23
COUNT = SIZE.to_bytes(4)


@pytest.mark.parametrize(
    "field",
    [
        b"\xa3pcm\xdd" + COUNT + b"\x90" * SIZE,
        b"\xa3pcm\xdd" + COUNT + b"\x80" * SIZE,
        b"\xa3pcm\xdd" + COUNT + b"\x00" * SIZE,
        b"\xa3pcm\xdd" + COUNT + b"\xca\0\0\0" + b"\xca\0\0\0\0" * (SIZE - 1),
        b"\xa1x\xdd" + COUNT + b"\x90" * SIZE,
        b"\xa1x\xdf" + COUNT + b"\x90" * (2 * SIZE),
        b"\xa1x\xdd\xff\xff\xff\xff" + b"\x90" * SIZE,
        b"\xdb" + COUNT + b"k" * SIZE + b"\0",
        b"\xdd" + COUNT + b"\x90" * SIZE + b"\0",
    ],
    ids=["arrays", "maps", "integers", "shifted", "other", "pairs", "short", "name", "key"],
)
def test_a_message_takes_little_more_memory_than_it_has_bytes(field: bytes) -> None:
    data = b"\x82\xa4type\xa5Audio" + field
    _, peak = peak_of(lambda: messages.parse_stt_request(data))
    assert peak < 8 * len(data)  # a copy, and float32 of integers of a byte


def test_opus_takes_no_more_memory_than_its_bounds() -> None:
    writer = OggWriter(1)
    header = writer.page(PACKETS[0], 0) + writer.page(PACKETS[1], 0)
    shortest = writer.page(b"\x19", 0)
    data = header + shortest * (2**22 // len(shortest))
    refused, peak = peak_of(lambda: OpusDecoder().push(data))
    assert refused is ProtocolError
    assert peak < 3 * len(data) + 3 * 4 * 24000 * MOST_SECONDS
