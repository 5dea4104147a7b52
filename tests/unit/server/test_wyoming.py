"""Wyoming's events: what is read of strangers, what the package reads of ours, and the adapters."""

import io
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("wyoming", reason="the serve extra is not installed")

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, read_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from kyutai_onnx.models import events
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wyoming import messages
from kyutai_onnx.server.wyoming.adapter import (
    ChunkDecoder,
    SpeechAdapter,
    TextEnd,
    TextPiece,
    TextRequests,
    TextStart,
    TranscriptAdapter,
)
from kyutai_onnx.server.wyoming.messages import (
    MAX_DATA,
    MAX_PAYLOAD,
    EventReader,
    pack_event,
    parse_request,
)

TONE = np.sin(np.arange(4800) / 20).astype(np.float32) / 2
KYUTAI = Attribution("Kyutai", "https://kyutai.org")
VOICE = TtsVoice("alba", KYUTAI, True, "A voice", "1", ["en"])
REQUESTS: list[Eventable] = [
    Describe(),
    Transcribe("stt"),
    Transcribe(),
    AudioStart(16000, 2, 1),
    AudioChunk(16000, 2, 1, bytes(range(256))),
    AudioStop(),
    Synthesize("say\nthis", SynthesizeVoice("alba")),
    Synthesize("say this"),
    SynthesizeStart(SynthesizeVoice("alba")),
    SynthesizeStart(),
    SynthesizeChunk("say "),
    SynthesizeStop(),
    Ping("a"),
    Ping(),
]
REPLIES: list[Eventable] = [
    Info(tts=[TtsProgram("kyutai-onnx", KYUTAI, True, "TTS", "1", [VOICE])]),
    AudioStart(24000, 2, 1),
    AudioChunk(24000, 2, 1, bytes(range(256))),
    AudioStop(),
    Transcript("là"),
    TranscriptStart(),
    TranscriptChunk(" a"),
    TranscriptStop(),
    SynthesizeStopped(),
    Pong(),
    Error("no room", "busy"),
    Error("no room"),
]


def found(data: bytes, size: int = 2**20) -> list[Event]:
    reader = EventReader()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [event for piece in pieces for event in reader.push(piece)]


def the(data: bytes) -> Eventable | None:
    (event,) = found(data)
    return parse_request(event)


@pytest.mark.parametrize("request_", REQUESTS, ids=repr)
def test_requests_come_back_as_they_were_packed(request_: Eventable) -> None:
    assert the(pack_event(request_)) == request_


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_the_package_reads_replies(reply: Eventable) -> None:
    read = read_event(io.BytesIO(pack_event(reply)))
    assert read is not None
    assert type(reply).is_type(read.type)
    assert type(reply).from_event(read) == reply


def test_events_come_however_they_are_cut() -> None:
    data = b"".join(map(pack_event, REQUESTS))
    for size in (1, 7, 2**20):
        assert [parse_request(event) for event in found(data, size)] == REQUESTS


def test_fields_that_nobody_reads_are_left_out() -> None:
    voice = SynthesizeVoice(language="en")
    assert the(pack_event(SynthesizeStart(voice, context={"a": 1}))) == SynthesizeStart()
    assert the(pack_event(Transcribe("stt", "fr"))) == Transcribe("stt")
    line = b'{"type": "transcribe", "data": {"name": "a", "transcript_names": 1}}\n'
    assert the(line) == Transcribe("a")


def test_an_event_may_hold_its_data_in_its_first_line() -> None:
    line = b'{"type": "synthesize", "data": {"text": "a", "context": {"b": []}}}\n'
    assert the(line) == Synthesize("a")
    more = b'{"type": "transcribe", "data": {"name": "a", "language": "b"}, "data_length": 13}\n'
    assert the(more + b'{"name": "c"}') == Transcribe("c")


def test_an_event_that_is_not_known_is_passed_over() -> None:
    assert the(b'{"type": "detect", "payload_length": 2}\nab') is None


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 1}\n',
        b'{"type": "ping", "data": []}\n'.replace(b"[]", b"[1]"),
        b'{"type": "ping", "data_length": -1}\n',
        b'{"type": "ping", "data_length": 1.0}\n',
        b'{"type": "ping", "data_length": "1"}\n',
        b'{"type": "ping", "data_length": %d}\n' % (MAX_DATA + 1),
        b'{"type": "ping", "payload_length": %d}\n' % (MAX_PAYLOAD + 1),
        b'{"type": "ping", "data_length": 2}\n[]',
        b'{"type": "ping", "data_length": 2}\n\xff\xff',
        b'{"type": "ping", "data_length": 60000}\n' + b"[" * 60000,
        b'{"type": "ping", "data": {"a": NaN}}\n',
        b'{"type": "ping", "data": {"a": 1e999}}\n',
        b'{"type": ' + b"[" * 60000 + b"\n",
        b'{"type": ' + b"1" * 5000 + b"}\n",
        b" " * 2**16,
    ],
    ids=range(18),
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        found(data)


@pytest.mark.parametrize(
    ("kind", "data", "payload"),
    [
        ("synthesize", {}, b""),
        ("synthesize", {"text": 1}, b""),
        ("synthesize", {"text": "a", "voice": "b"}, b""),
        ("synthesize", {"text": "a", "voice": {"name": 1}}, b""),
        ("audio-start", {"rate": 16000, "width": 2}, b""),
        ("audio-start", {"rate": 7999, "width": 2, "channels": 1}, b""),
        ("audio-start", {"rate": 192001, "width": 2, "channels": 1}, b""),
        ("audio-start", {"rate": 16000, "width": 5, "channels": 1}, b""),
        ("audio-start", {"rate": 16000, "width": 2, "channels": 0}, b""),
        ("audio-start", {"rate": 16000.5, "width": 2, "channels": 1}, b""),
        ("audio-start", {"rate": True, "width": 2, "channels": 1}, b""),
        ("audio-chunk", {"rate": 16000, "width": 2, "channels": 1}, b"abc"),
        ("audio-chunk", {"rate": 16000, "width": 2, "channels": 2}, b"ab"),
    ],
)
def test_fields_that_are_missing_or_out_of_range_are_refused(
    kind: str, data: dict[str, Any], payload: bytes
) -> None:
    with pytest.raises(ProtocolError):
        parse_request(Event(kind, data, payload))


def test_a_header_is_read_once_however_slowly_the_rest_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []
    parse = messages.parse_object
    monkeypatch.setattr(messages, "parse_object", lambda data: read.append(data) or parse(data))
    assert len(found(pack_event(AudioChunk(16000, 2, 1, bytes(1000))), size=1)) == 1
    assert len(read) <= 5


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ProtocolError):
        the(b'{"type": "ping", "data": {"text": "\\ud800"}}\n')


@pytest.mark.parametrize(("width", "error"), [(1, 0.01), (2, 1e-4), (3, 1e-6), (4, 1e-6)])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_of_any_format_is_transcribed(width: int, error: float, channels: int) -> None:
    scaled = np.rint(TONE.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    scaled += 128 if width == 1 else 0
    whole = scaled.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    data = np.tile(whole, channels).tobytes()
    decoder = ChunkDecoder(24000)
    recognized = decoder.push(AudioChunk(24000, width, channels, data))
    assert np.abs(recognized - TONE).max() < error


def test_audio_of_another_rate_is_resampled() -> None:
    decoder = ChunkDecoder(24000)
    pieces = [decoder.push(AudioChunk(16000, 2, 1, bytes(2 * 320))) for _ in range(50)]
    assert sum(map(len, [*pieces, decoder.flush()])) == 24000
    with pytest.raises(ProtocolError, match="another format"):
        [decoder.push(AudioChunk(rate, 2, 1, b"ab")) for rate in (16000, 8000)]


def test_channels_are_mixed() -> None:
    both = np.stack([np.full(100, 8192), np.full(100, -4096)], axis=1).astype("<i2")
    recognized = ChunkDecoder(24000).push(AudioChunk(24000, 2, 2, both.tobytes()))
    assert np.allclose(recognized, (0.25 - 0.125) / 2)


WORDS = [events.Word("Hello", 0.0, 0.4), events.Word("là.", 0.4, 0.8)]


def test_a_transcript_comes_whole() -> None:
    rules = TranscriptAdapter(streaming=False)
    assert [rules.report(word) for word in WORDS] == [[], []]
    assert rules.end() == [Transcript("Hello là.")]


def test_a_transcript_comes_in_pieces_and_then_whole() -> None:
    rules = TranscriptAdapter(streaming=True)
    reported = [
        message for event in [events.Step(0, ()), *WORDS] for message in rules.report(event)
    ]
    assert [*reported, *rules.end()] == [
        TranscriptStart(),
        TranscriptChunk("Hello"),
        TranscriptChunk(" là."),
        Transcript("Hello là."),
        TranscriptStop(),
    ]


def test_where_nothing_was_said_the_transcript_is_empty() -> None:
    assert TranscriptAdapter(streaming=False).end() == [Transcript("")]
    assert TranscriptAdapter(streaming=True).end() == [
        TranscriptStart(),
        Transcript(""),
        TranscriptStop(),
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_speech_comes_in_chunks(streaming: bool) -> None:
    rules = SpeechAdapter(24000, streaming=streaming)
    reported = rules.report(events.Word("a", 0.0, 0.1))
    reported += rules.report(events.Audio(TONE)) + rules.report(events.Audio(TONE)) + rules.end()
    assert reported[0] == AudioStart(24000, 2, 1)
    chunks = [message for message in reported if isinstance(message, AudioChunk)]
    decoder = ChunkDecoder(24000)
    assert np.abs(np.concatenate([decoder.push(c) for c in chunks]) - np.tile(TONE, 2)).max() < 1e-4
    stopped = [SynthesizeStopped()] if streaming else []
    assert reported[3:] == [AudioStop(), *stopped]
    silent = SpeechAdapter(24000, streaming=streaming).end()
    assert silent == [AudioStart(24000, 2, 1), AudioStop(), *stopped]


def test_a_text_is_asked_for_whole_or_in_pieces() -> None:
    requests, voice = TextRequests(), SynthesizeVoice("alba")
    assert requests.read(Synthesize("a b", voice)) == [
        TextStart(voice, streaming=False),
        TextPiece("a b"),
        TextEnd(),
    ]
    pieces = [
        SynthesizeStart(voice),
        SynthesizeChunk("a "),
        Ping(),
        SynthesizeChunk("b"),
        Synthesize("a b", voice),
        SynthesizeStop(),
        Synthesize("c"),
    ]
    assert [asked for piece in pieces for asked in requests.read(piece)] == [
        TextStart(voice, streaming=True),
        TextPiece("a "),
        TextPiece("b"),
        TextEnd(),
        TextStart(None, streaming=False),
        TextPiece("c"),
        TextEnd(),
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [SynthesizeChunk("a")],
        [SynthesizeStop()],
        [SynthesizeStart(), SynthesizeStart()],
        [SynthesizeStart(), SynthesizeStop(), SynthesizeStop()],
    ],
)
def test_pieces_out_of_order_are_refused(pieces: list[Eventable]) -> None:
    requests = TextRequests()
    with pytest.raises(ProtocolError, match="a piece "):
        [requests.read(piece) for piece in pieces]
