"""Wyoming's events: what the `wyoming` package reads of ours, and we of its."""

import io
import json
from typing import Any

import numpy as np
import pytest

from kyutai_onnx.models import events
from kyutai_onnx.server.wire.errors import ProtocolError
from kyutai_onnx.server.wyoming import frames as wyoming
from kyutai_onnx.server.wyoming import messages as ours
from kyutai_onnx.server.wyoming.adapter import (
    Begin,
    ChunkDecoder,
    End,
    Say,
    SpeechAdapter,
    SynthesisRequests,
    TranscriptAdapter,
)
from kyutai_onnx.server.wyoming.frames import MOST_DATA, MOST_PAYLOAD, Event, EventReader
from kyutai_onnx.server.wyoming.messages import AudioChunk, Message, VoiceChoice

TONE = np.sin(np.arange(4800) / 20).astype(np.float32) / 2
KYUTAI = ours.Attribution("Kyutai", "https://kyutai.org")
MODEL = ours.Artifact("stt", KYUTAI, "Speech to text", "1", ("en", "fr"))
VOICE = ours.Artifact("alba", KYUTAI, "A voice", "1", ("en",))
INFO = ours.Info(
    (ours.ListeningProgram("kyutai-onnx", KYUTAI, "STT", "1", (MODEL,)),),
    (ours.SpeakingProgram("kyutai-onnx", KYUTAI, "TTS", "1", (VOICE,)),),
)
MESSAGES: list[Message] = [
    ours.Describe(),
    INFO,
    ours.Transcribe("stt", "fr"),
    ours.Transcribe(),
    ours.AudioStart(16000, 2, 1),
    ours.AudioChunk(16000, 2, 1, bytes(range(256))),
    ours.AudioStop(),
    ours.Transcript("là"),
    ours.TranscriptStart(),
    ours.TranscriptChunk(" a"),
    ours.TranscriptStop(),
    ours.Synthesize("say\nthis", VoiceChoice("alba")),
    ours.Synthesize("say this"),
    ours.SynthesizeStart(VoiceChoice(language="en")),
    ours.SynthesizeStart(),
    ours.SynthesizeChunk("say "),
    ours.SynthesizeStop(),
    ours.SynthesizeStopped(),
    ours.Ping("a"),
    ours.Pong(),
    ours.Error("no room", "busy"),
    ours.Error("no room"),
]


def found(data: bytes, size: int = 2**20) -> list[Event]:
    reader = EventReader()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [event for piece in pieces for event in reader.push(piece)]


def the(data: bytes) -> Message | None:
    (event,) = found(data)
    return ours.parse(event)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.tag)
def test_messages_come_back_as_they_were_packed(message: Message) -> None:
    assert the(ours.pack(message)) == message


def test_events_come_however_they_are_cut() -> None:
    data = b"".join(map(ours.pack, MESSAGES))
    for size in (1, 7, 2**20):
        assert [ours.parse(event) for event in found(data, size)] == MESSAGES


def test_an_event_may_hold_its_data_in_its_first_line() -> None:
    line = b'{"type": "synthesize", "data": {"text": "a", "context": {"b": []}}}\n'
    assert the(line) == ours.Synthesize("a")
    more = b'{"type": "transcribe", "data": {"name": "a", "language": "b"}, "data_length": 13}\n'
    assert the(more + b'{"name": "c"}') == ours.Transcribe("c", "b")


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
        b'{"type": "ping", "data_length": %d}\n' % (MOST_DATA + 1),
        b'{"type": "ping", "payload_length": %d}\n' % (MOST_PAYLOAD + 1),
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
        ours.parse(Event(kind, data, payload))


def test_a_header_is_read_once_however_slowly_the_rest_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []
    parse = wyoming.parse_object
    monkeypatch.setattr(wyoming, "parse_object", lambda data: read.append(data) or parse(data))
    assert len(found(ours.pack(AudioChunk(16000, 2, 1, bytes(1000))), size=1)) == 1
    assert len(read) <= 5


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ProtocolError):
        the(b'{"type": "ping", "data": {"text": "\\ud800"}}\n')


@pytest.mark.parametrize(("width", "error"), [(1, 0.01), (2, 1e-4), (3, 1e-6), (4, 1e-6)])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_of_any_format_is_heard(width: int, error: float, channels: int) -> None:
    scaled = np.rint(TONE.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    scaled += 128 if width == 1 else 0
    whole = scaled.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    data = np.tile(whole, channels).tobytes()
    decoder = ChunkDecoder(24000)
    heard = decoder.push(AudioChunk(24000, width, channels, data))
    assert np.abs(heard - TONE).max() < error


def test_audio_of_another_rate_is_resampled() -> None:
    decoder = ChunkDecoder(24000)
    pieces = [decoder.push(AudioChunk(16000, 2, 1, bytes(2 * 320))) for _ in range(50)]
    assert sum(map(len, [*pieces, decoder.flush()])) == 24000
    with pytest.raises(ProtocolError, match="another format"):
        [decoder.push(AudioChunk(rate, 2, 1, b"ab")) for rate in (16000, 8000)]


def test_channels_are_mixed() -> None:
    both = np.stack([np.full(100, 8192), np.full(100, -4096)], axis=1).astype("<i2")
    heard = ChunkDecoder(24000).push(AudioChunk(24000, 2, 2, both.tobytes()))
    assert np.allclose(heard, (0.25 - 0.125) / 2)


WORDS = [events.Word("Hello", 0.0, 0.4), events.Word("là.", 0.4, 0.8)]


def test_a_transcript_comes_whole() -> None:
    rules = TranscriptAdapter(streaming=False)
    assert [rules.report(word) for word in WORDS] == [[], []]
    assert rules.end() == [ours.Transcript("Hello là.")]


def test_a_transcript_comes_in_pieces_and_then_whole() -> None:
    rules = TranscriptAdapter(streaming=True)
    told = [message for event in [events.Step(0, ()), *WORDS] for message in rules.report(event)]
    assert [*told, *rules.end()] == [
        ours.TranscriptStart(),
        ours.TranscriptChunk("Hello"),
        ours.TranscriptChunk(" là."),
        ours.Transcript("Hello là."),
        ours.TranscriptStop(),
    ]


def test_where_nothing_was_said_the_transcript_is_empty() -> None:
    assert TranscriptAdapter(streaming=False).end() == [ours.Transcript("")]
    assert TranscriptAdapter(streaming=True).end() == [
        ours.TranscriptStart(),
        ours.Transcript(""),
        ours.TranscriptStop(),
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_speech_comes_in_chunks(streaming: bool) -> None:
    rules = SpeechAdapter(24000, streaming=streaming)
    told = rules.report(events.Word("a", 0.0, 0.1))
    told += rules.report(events.Audio(TONE)) + rules.report(events.Audio(TONE)) + rules.end()
    assert told[0] == ours.AudioStart(24000, 2, 1)
    chunks = [message for message in told if isinstance(message, AudioChunk)]
    decoder = ChunkDecoder(24000)
    assert np.abs(np.concatenate([decoder.push(c) for c in chunks]) - np.tile(TONE, 2)).max() < 1e-4
    stopped = [ours.SynthesizeStopped()] if streaming else []
    assert told[3:] == [ours.AudioStop(), *stopped]
    silent = SpeechAdapter(24000, streaming=streaming).end()
    assert silent == [ours.AudioStart(24000, 2, 1), ours.AudioStop(), *stopped]


def test_a_text_is_asked_for_whole_or_in_pieces() -> None:
    requests, voice = SynthesisRequests(), VoiceChoice("alba")
    assert requests.take(ours.Synthesize("a b", voice)) == [
        Begin(voice, streaming=False),
        Say("a b"),
        End(),
    ]
    pieces = [
        ours.SynthesizeStart(voice),
        ours.SynthesizeChunk("a "),
        ours.Ping(),
        ours.SynthesizeChunk("b"),
        ours.Synthesize("a b", voice),
        ours.SynthesizeStop(),
        ours.Synthesize("c"),
    ]
    assert [asked for piece in pieces for asked in requests.take(piece)] == [
        Begin(voice, streaming=True),
        Say("a "),
        Say("b"),
        End(),
        Begin(None, streaming=False),
        Say("c"),
        End(),
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [ours.SynthesizeChunk("a")],
        [ours.SynthesizeStop()],
        [ours.SynthesizeStart(), ours.SynthesizeStart()],
        [ours.SynthesizeStart(), ours.SynthesizeStop(), ours.SynthesizeStop()],
    ],
)
def test_pieces_out_of_order_are_refused(pieces: list[Message]) -> None:
    requests = SynthesisRequests()
    with pytest.raises(ProtocolError, match="a piece of a text"):
        [requests.take(piece) for piece in pieces]


@pytest.mark.filterwarnings("ignore:.*audioop:DeprecationWarning")
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.tag)
def test_the_package_reads_what_we_write_and_the_reverse(message: Message) -> None:
    pytest.importorskip("wyoming", reason="compares with the wyoming package")
    from wyoming import asr, audio, error, event, info, ping, tts

    modules = (asr, audio, error, info, ping, tts)
    (theirs,) = (
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__name__ == type(message).__name__
        if kind.__module__ == module.__name__
    )
    read = event.read_event(io.BytesIO(ours.pack(message)))
    assert read is not None
    assert theirs.is_type(read.type)
    written = io.BytesIO()
    event.write_event(theirs.from_event(read).event(), written)
    assert the(written.getvalue()) == message


def test_what_the_server_can_is_told_in_the_words_of_the_package() -> None:
    info = json.loads(ours.pack(INFO).split(b"\n", 1)[1])
    assert info["asr"][0]["models"][0]["languages"] == ["en", "fr"]
    assert info["asr"][0]["supports_transcript_streaming"] is True
    assert info["tts"][0]["voices"][0]["attribution"] == {
        "name": "Kyutai",
        "url": "https://kyutai.org",
    }
    assert info["tts"][0]["supports_synthesize_streaming"] is True
