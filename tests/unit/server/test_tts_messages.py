"""Messages of moshi-server's text to speech in its four formats, and when a client gets which."""

from typing import Any

import pytest

pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")

import msgpack
import numpy as np

from kyutai_onnx.models import events
from kyutai_onnx.models.text.normalizer import TextNormalizer
from kyutai_onnx.server.moshi_server import messages
from kyutai_onnx.server.moshi_server.messages import (
    AudioMessage,
    EosMessage,
    ErrorMessage,
    OggOpusMessage,
    ReadyMessage,
    TextMessage,
    TimedTextMessage,
    TtsFormat,
    TtsReply,
    VoiceMessage,
)
from kyutai_onnx.server.moshi_server.tts import TtsAdapter
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.messagepack import pack
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder

PCM, PACKED, OGG, OGG_PACKED = (
    TtsFormat.PCM,
    TtsFormat.PCM_MESSAGE_PACK,
    TtsFormat.OGG_OPUS,
    TtsFormat.OGG_OPUS_MESSAGE_PACK,
)
TONE = np.sin(np.arange(1920) / 10).astype(np.float32)
HEADER_BYTES = 102


def rules(form: TtsFormat = PACKED) -> TtsAdapter:
    return TtsAdapter(form, 12.5)


def test_figures_are_read_as_words_over_several_messages() -> None:
    adapter = TtsAdapter(PACKED, 12.5, TextNormalizer())
    sent = ("the train", "leaves", "at", "9:50", "and", "**10**", "km")
    fed = "".join([*map(adapter.read, sent), adapter.flush()])
    assert " ".join(fed.split()) == "the train leaves at nine fifty and ten kilometers"


def test_a_range_keeps_its_dash_until_it_is_read() -> None:
    adapter = TtsAdapter(PACKED, 12.5, TextNormalizer(language="en"))
    assert adapter.read("10–12 km.") + adapter.flush() == "ten to twelve kilometers. "


def test_invalid_ssml_is_an_error_of_the_protocol() -> None:
    adapter = TtsAdapter(PACKED, 12.5, TextNormalizer())
    with pytest.raises(ProtocolError):
        adapter.read("<speak><break time='soon'/></speak>")


def replies(packed: list[bytes]) -> list[TtsReply]:
    return [messages.parse_tts_reply(data) for data in packed]


def samples(message: TtsReply) -> np.ndarray[Any, Any]:
    assert isinstance(message, AudioMessage)
    return message.pcm


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("two words", TextMessage("two words")),
        (b"\0", EosMessage()),
        (msgpack.packb({"type": "Eos"}), EosMessage()),
        (msgpack.packb({"type": "Text", "text": "où"}), TextMessage("où")),
        (msgpack.packb({"text": "", "type": "Text", "more": [{}]}), TextMessage("")),
    ],
)
def test_requests_are_read(data: bytes | str, message: messages.TtsRequest) -> None:
    assert messages.parse_tts_request(data) == message


def test_requests_are_packed_as_clients_pack_them() -> None:
    assert pack(TextMessage("a")) == msgpack.packb({"type": "Text", "text": "a"})
    assert pack(EosMessage()) == msgpack.packb({"type": "Eos"})


def test_a_voice_is_an_embedding_with_its_shape() -> None:
    numbers = np.random.default_rng(0).normal(size=512 * 125).astype(np.float32)
    fields = {"type": "Voice", "embeddings": numbers.tolist(), "shape": [1, 512, 125]}
    packed = msgpack.packb(fields, use_single_float=True)
    voice = messages.parse_tts_request(packed)
    assert isinstance(voice, VoiceMessage)
    assert np.array_equal(voice.embeddings, numbers)
    assert voice.shape == (1, 512, 125)
    assert pack(voice) == packed


@pytest.mark.parametrize(
    "shape", [[], [3], [2, 1, 1, 1], [-1, -2], [0], [1, 2.0], [2**63, 2**63], [2] * 16, "2"]
)
def test_a_voice_of_another_shape_is_refused(shape: Any) -> None:
    fields = {"type": "Voice", "embeddings": [0.5, 0.5], "shape": shape}
    with pytest.raises(ProtocolError):
        messages.parse_tts_request(msgpack.packb(fields))


def test_a_text_is_at_most_a_million_characters() -> None:
    text = "a" * messages.MAX_TEXT
    assert messages.parse_tts_request(text) == TextMessage(text)
    for longer in (f"{text}a", msgpack.packb({"type": "Text", "text": f"{text}a"})):
        with pytest.raises(ProtocolError, match="1048577 characters"):
            messages.parse_tts_request(longer)


@pytest.mark.parametrize("data", [b"", b"\1", b"\0\0", msgpack.packb({"type": "Ready"})])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.parse_tts_request(data)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (ReadyMessage(), {"type": "Ready"}),
        (OggOpusMessage(b"\1\xff"), {"type": "OggOpus", "data": [1, 255]}),
        (
            TimedTextMessage("a", 0.08, 2.0),
            {"type": "Text", "text": "a", "start_s": 0.08, "stop_s": 2.0},
        ),
        (ErrorMessage("no free channels"), {"type": "Error", "message": "no free channels"}),
    ],
)
def test_replies_are_packed_as_rust_packs_them(message: TtsReply, fields: dict[str, Any]) -> None:
    assert pack(message) == msgpack.packb(fields)
    assert messages.parse_tts_reply(msgpack.packb(fields)) == message


def test_formats_are_named_as_in_the_query() -> None:
    assert [str(form) for form in TtsFormat] == [PCM, PACKED, OGG, OGG_PACKED]
    assert messages.format_named("PcmMessagePack") is PACKED
    with pytest.raises(ProtocolError, match="'pcm': choose Pcm, PcmMessagePack"):
        messages.format_named("pcm")


def test_messages_begin_with_ready_and_opus_with_its_header() -> None:
    assert rules(PCM).start() == []
    assert replies(rules(PACKED).start()) == [ReadyMessage()]
    (header,) = rules(OGG).start()
    assert len(header) == HEADER_BYTES
    assert replies(rules(OGG_PACKED).start()) == [ReadyMessage(), OggOpusMessage(header)]


def test_only_messages_can_say_that_there_is_no_room() -> None:
    for form in (PACKED, OGG_PACKED):
        assert replies(rules(form).refuse()) == [ErrorMessage("no free channels")]
    for form in (PCM, OGG):
        assert rules(form).refuse() == []


def test_samples_alone_are_floats_one_after_the_other() -> None:
    (data,) = rules(PCM).report(events.Audio(TONE))
    assert len(data) == 7680
    assert np.array_equal(np.frombuffer(data, "<f4"), np.clip(TONE, -0.99, 0.99))


def test_samples_are_clipped_as_upstream_clips_them() -> None:
    (message,) = replies(rules().report(events.Audio(2 * TONE)))
    assert np.array_equal(samples(message), np.clip(2 * TONE, -0.99, 0.99))


def test_opus_is_two_pages_a_frame_and_the_rest_at_the_end() -> None:
    for form in (OGG, OGG_PACKED):
        speaker, decoder = rules(form), OpusDecoder()
        packed = [*speaker.start(), *speaker.report(events.Audio(TONE))]
        packed += speaker.report(events.Audio(TONE[:100]))
        assert len(packed) == (2 if form is OGG else 3)
        packed += speaker.end()
        if form is OGG_PACKED:
            packed = [m.data for m in replies(packed) if isinstance(m, OggOpusMessage)]
        assert [page.count(b"OggS") for page in packed] == [2, 2, 1]
        assert sum(len(decoder.push(page)) for page in packed) == 1920 + 960


def test_words_are_reported_where_there_are_messages() -> None:
    word = events.Word("it's", 0.16, 0.4)
    assert replies(rules().report(word)) == [TimedTextMessage("it's", 0.16, 0.4)]
    assert rules(PCM).report(word) == rules(OGG).report(word) == []


def test_a_text_is_read_as_upstream_reads_it() -> None:
    assert rules().read("it’s (nearly)\n12:30 – now") == "it's nearly 12 30 now "
    assert rules().read(" \t") == ""
    assert rules().read("") == ""


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [("1.5", "1.440"), ("0.01", "0.080"), ("0.08", "0.080"), ("10", "10.000"), ("9999", "10.000")],
)
def test_a_break_is_whole_frames_of_at_most_ten_seconds(seconds: str, kept: str) -> None:
    read = rules().read(f'a<break  time="{seconds}s" />b')
    assert read == f'a <break time="{kept}s"/> b '


def test_a_break_of_nothing_is_none_and_one_of_days_is_refused() -> None:
    assert rules().read('a <break time="0s"/> b') == "a b "
    with pytest.raises(ProtocolError, match="at most a day"):
        rules().read('<break time="99999999s"/>')


def test_a_message_ends_words_and_tags() -> None:
    speaker = rules()
    assert speaker.read("wo") + speaker.read("rd") == "wo rd "
    assert speaker.read("a <break") + speaker.read("b") == "a <break b "


def test_breaks_are_reported_between_the_words() -> None:
    speaker = rules()
    speaker.read('<break time="1s"/> one <break time="0.5s"/>')
    speaker.read('<break time="1.5s"/> two three <break time="2s"/>')
    reported = speaker.report(events.Word("one", 1.2, 1.6))
    reported += speaker.report(events.Word("two", 4.0, 4.4))
    reported += speaker.report(events.Word("three", 4.4, 5.0))
    reported += speaker.end()
    assert replies(reported) == [
        TimedTextMessage('<break time="1.00s">', 0.0, 1.2),
        TimedTextMessage("one", 1.2, 1.6),
        TimedTextMessage('<break time="0.50s">', 1.6, 2.1),
        TimedTextMessage('<break time="1.50s">', 2.1, 4.0),
        TimedTextMessage("two", 4.0, 4.4),
        TimedTextMessage("three", 4.4, 5.0),
        TimedTextMessage('<break time="2.00s">', 5.0, 7.0),
    ]


def test_a_word_that_cannot_be_said_does_not_move_the_breaks() -> None:
    speaker = rules()
    speaker.read('\u200b one <break time="1s"/> two')
    reported = speaker.report(events.Word("one", 0.0, 0.4)) + speaker.report(
        events.Word("two", 2.0, 2.4)
    )
    assert [m.text for m in replies(reported) if isinstance(m, TimedTextMessage)] == [
        "one",
        '<break time="1.00s">',
        "two",
    ]


def test_without_messages_nothing_is_kept_of_the_text() -> None:
    speaker = rules(PCM)
    assert speaker.read('one <break time="1s"/> two') == 'one <break time="0.960s"/> two '
    assert speaker.end() == []
