"""What Kyutai's clients send and expect: the scripts of delayed-streams-modeling, and Unmute, whose
messages are strict unions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

pytest.importorskip("hypothesis", reason="tries tokens by hypothesis")
pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")
pytest.importorskip("pydantic", reason="checks messages by pydantic")

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from support.mutations import fuzzed

from kyutai_onnx.models import events
from kyutai_onnx.models.stt.words import WordAssembler
from kyutai_onnx.server.moshi_server import messages
from kyutai_onnx.server.moshi_server.messages import EndWordMessage, SttReply, WordMessage
from kyutai_onnx.server.moshi_server.stt import SttAdapter
from kyutai_onnx.server.moshi_server.tts import TtsAdapter
from kyutai_onnx.server.wire.messagepack import pack

FRAME_RATE, DELAY = 12.5, 6
FRAME = 1 / FRAME_RATE
BOUNDARY, PADDING = 0, 3
PAUSES = (0.1, 0.2, 0.3, 0.4)


class Letters:
    """A tokenizer whose tokens from 4 on are letters, those that are even with a space before."""

    def encode(self, text: str) -> list[int]:
        return [4] * len(text)

    def decode(self, ids: list[int]) -> str:
        return "".join(" " * (i % 2 == 0) + chr(ord("a") + (i - 4) // 2) for i in ids).strip()


def moshi_server(tokens: list[int]) -> Iterator[SttReply]:
    """The rule of moshi-core's asr.rs, from the first frame that is looked at."""
    pending: list[int] = []
    start, is_open = 0.0, False
    for step, token in enumerate(tokens, 1):
        if token not in (BOUNDARY, PADDING):
            pending.append(token)
            continue
        if pending:
            yield WordMessage(Letters().decode(pending), start)
            pending, is_open = [], True
        if token == BOUNDARY:
            start = (step - DELAY) / FRAME_RATE
            if is_open:
                yield EndWordMessage(start)
            is_open = False


def live_events(tokens: list[int]) -> Iterator[events.Event]:
    """What a live stream of ours reports of the same tokens, frame by frame."""
    lag = DELAY / FRAME_RATE
    words = WordAssembler(Letters(), FRAME_RATE, lag, padding=PADDING, boundary=BOUNDARY)
    pending: list[int] = []
    start = 0.0
    for index, token in enumerate(tokens):
        yield events.Step(index, PAUSES)
        if token not in (BOUNDARY, PADDING):
            pending.append(token)
        elif pending:
            yield events.WordStarted(Letters().decode(pending), start)
            pending = []
        yield from words.push(token)
        if token == BOUNDARY:
            start = (index + 1 - DELAY) / FRAME_RATE


@fuzzed
@given(st.lists(st.one_of(st.just(BOUNDARY), st.just(PADDING), st.integers(4, 9)), max_size=60))
def test_words_are_reported_as_moshi_server_reports_them(tokens: list[int]) -> None:
    """But for their ends, which are those of `transcribe`: the frame before the next word."""
    tokens = [PADDING] * DELAY + [BOUNDARY, *tokens]
    rules = SttAdapter()
    reported = [message for event in live_events(tokens) for message in rules.report(event)]
    words = [message for message in reported if not isinstance(message, messages.StepMessage)]
    expected = list(moshi_server(tokens))
    assert [type(message) for message in words] == [type(message) for message in expected]
    for ours, theirs in zip(words, expected, strict=True):
        if isinstance(ours, EndWordMessage) and isinstance(theirs, EndWordMessage):
            assert ours.stop_time == pytest.approx(theirs.stop_time - FRAME)
        else:
            assert ours == theirs
    steps = [message for message in reported if isinstance(message, messages.StepMessage)]
    assert [step.step_idx for step in steps] == list(range(len(tokens)))


class UnmuteWord(BaseModel):
    type: Literal["Word"]
    text: str
    start_time: float


class UnmuteEndWord(BaseModel):
    type: Literal["EndWord"]
    stop_time: float


class UnmuteMarker(BaseModel):
    type: Literal["Marker"]
    id: int


class UnmuteStep(BaseModel):
    type: Literal["Step"]
    step_idx: int
    prs: list[float]


class UnmuteError(BaseModel):
    type: Literal["Error"]
    message: str


class UnmuteReady(BaseModel):
    type: Literal["Ready"]


class UnmuteText(BaseModel):
    type: Literal["Text"]
    text: str
    start_s: float
    stop_s: float


class UnmuteAudio(BaseModel):
    type: Literal["Audio"]
    pcm: list[float]


Received = UnmuteWord | UnmuteEndWord | UnmuteMarker | UnmuteStep | UnmuteError | UnmuteReady
HEARD: TypeAdapter[Received] = TypeAdapter(Annotated[Received, Field(discriminator="type")])
Said = UnmuteText | UnmuteAudio | UnmuteError | UnmuteReady
SAID: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="type")])


def test_unmute_takes_all_that_speech_to_text_reports() -> None:
    rules = SttAdapter()
    reported: list[SttReply] = [rules.start()]
    reported += [m for event in live_events([0, 4, 3, 0]) for m in rules.report(event, 480)]
    reported += [messages.MarkerMessage(0), rules.refuse()]
    read = [HEARD.validate_python(msgpack.unpackb(pack(m)), strict=True) for m in reported]
    assert isinstance(read[0], UnmuteReady)
    assert {message.type for message in read} == {
        "Ready",
        "Step",
        "Word",
        "EndWord",
        "Marker",
        "Error",
    }
    steps = [message for message in read if isinstance(message, UnmuteStep)]
    assert all(step.prs == pytest.approx(list(PAUSES)) for step in steps)
    with pytest.raises(ValidationError):
        HEARD.validate_python({"type": "Ping"})


def test_unmute_takes_all_that_text_to_speech_reports() -> None:
    rules = TtsAdapter(messages.format_named("PcmMessagePack"), FRAME_RATE)
    rules.read('a <break time="1s"/> b')
    reported = rules.start() + rules.report(events.Audio(np.ones(1920, np.float32)))
    reported += rules.report(events.Word("a", 0.0, 0.4)) + rules.report(events.Word("b", 1.6, 2.0))
    reported += rules.end() + rules.refuse()
    read = [SAID.validate_python(msgpack.unpackb(data), strict=True) for data in reported]
    kinds = [message.type for message in read]
    assert kinds == ["Ready", "Audio", "Text", "Text", "Text", "Error"]
    audio = read[1]
    assert isinstance(audio, UnmuteAudio)
    assert audio.pcm == pytest.approx([0.99] * 1920)


@dataclass
class Script:
    """Words and times as stt_from_file_rust_server.py keeps them."""

    words: list[dict[str, Any]]
    done: bool = False

    def read(self, message: bytes) -> None:
        data = msgpack.unpackb(message, raw=False)
        if data["type"] == "Word":
            self.words.append({"text": data["text"], "start": data["start_time"]})
        elif data["type"] == "EndWord":
            self.words[-1]["stop"] = data["stop_time"]
        self.done = data["type"] == "Marker"


def sent(**fields: Any) -> bytes:
    packed: bytes = msgpack.packb(fields, use_bin_type=True, use_single_float=True)
    return packed


def test_a_file_is_sent_and_its_words_come_back_before_the_marker() -> None:
    speech = np.random.default_rng(0).normal(0, 0.1, 24000 * 2).astype(np.float32)
    second = [0.0] * 24000
    sent_messages = [sent(type="Audio", pcm=second)]
    sent_messages += [
        sent(type="Audio", pcm=speech[at : at + 1920].tolist())
        for at in range(0, len(speech), 1920)
    ]
    sent_messages += [sent(type="Audio", pcm=second)] * 5 + [sent(type="Marker", id=0)]
    sent_messages += [sent(type="Audio", pcm=second)] * 35
    rules = SttAdapter()
    requests = [messages.parse_stt_request(message) for message in sent_messages]
    recognized = [m.pcm for m in requests if isinstance(m, messages.AudioMessage)]
    assert np.array_equal(np.concatenate(recognized)[24000 : -40 * 24000], speech)
    script = Script([])
    tokens = [PADDING] * DELAY + [0, 4, 3, 0, 6, 5, 3, 3, 0]
    reported = [rules.start(), *(m for e in live_events(tokens) for m in rules.report(e))]
    reported += [m for m in requests if isinstance(m, messages.MarkerMessage)]
    for message in reported:
        assert not script.done
        script.read(pack(message))
    assert script.done
    assert [word["text"] for word in script.words] == ["a", "ba"]
    assert all(word["stop"] > word["start"] for word in script.words)


def test_unmute_sends_what_halves_of_floats_hold() -> None:
    speech = np.random.default_rng(0).normal(0, 0.1, 480).astype(np.float16)
    (message,) = [
        messages.parse_stt_request(sent(type="Audio", pcm=speech.astype(np.float32).tolist()))
    ]
    assert isinstance(message, messages.AudioMessage)
    assert np.array_equal(message.pcm, speech.astype(np.float32))


def test_a_text_is_sent_word_by_word_and_comes_back_as_speech() -> None:
    words = ["Hello", "(there)", "it’s", "me"]
    sent_messages = [*(sent(type="Text", text=word) for word in words), sent(type="Eos")]
    rules = TtsAdapter(messages.TtsFormat.PCM_MESSAGE_PACK, FRAME_RATE)
    requests = [messages.parse_tts_request(message) for message in sent_messages]
    assert requests[-1] == messages.EosMessage()
    fed = "".join(rules.read(m.text) for m in requests if isinstance(m, messages.TextMessage))
    assert fed == "Hello there it's me "
    reported = rules.start()
    for index, word in enumerate(fed.split()):
        reported += rules.report(events.Audio(np.zeros(1920, np.float32)))
        reported += rules.report(events.Word(word, index * FRAME, (index + 1) * FRAME))
    read = [msgpack.unpackb(data) for data in [*reported, *rules.end()]]
    assert [m["text"] for m in read if m["type"] == "Text"] == fed.split()
    assert sum(len(m["pcm"]) for m in read if m["type"] == "Audio") == 4 * 1920
