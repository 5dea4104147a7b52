"""Text and words from one token a frame."""

import json

import pytest
from support.scripted_models import (
    BOUNDARY,
    END,
    FIRST_BYTE,
    ONE,
    PADDING,
    PLURAL,
    SECOND_BYTE,
    SPACE,
    TWO,
    Spelling,
)

from kyutai_onnx.models import Text, Word
from kyutai_onnx.models.text.detokenizer import TimedDetokenizer

RATE = 12.5


def spoken() -> TimedDetokenizer:
    return TimedDetokenizer(Spelling(), RATE, padding=PADDING, boundary=BOUNDARY)


def reported(*tokens: int) -> list[Text | Word]:
    text = spoken()
    events = [event for token in tokens for event in text.push(token)]
    return [*events, *text.flush()]


def text_of(events: list[Text | Word]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def words_of(events: list[Text | Word]) -> list[tuple[str, float, float]]:
    return [
        (event.text, event.start * RATE, event.end * RATE)
        for event in events
        if isinstance(event, Word)
    ]


def test_pieces_are_reported_as_they_come() -> None:
    text = spoken()
    assert text.push(PADDING) == []
    assert text.push(ONE) == [Text(" one")]
    assert text.push(PLURAL) == [Text("s")]
    assert text.push(TWO) == [Word("ones", 1 / RATE, 3 / RATE), Text(" two")]


def test_a_word_ends_at_the_boundary_before_the_next() -> None:
    events = reported(PADDING, ONE, PLURAL, PADDING, BOUNDARY, TWO)
    assert words_of(events) == [("ones", 1, 4), ("two", 5, 6)]
    assert text_of(events) == " ones two"


def test_a_word_ends_a_second_after_its_last_token_at_most() -> None:
    events = reported(ONE, *[PADDING] * 40, BOUNDARY, TWO)
    assert words_of(events) == [("one", 0, 13), ("two", 42, 43)]


def test_bytes_are_reported_once_they_are_a_character() -> None:
    text = spoken()
    assert text.push(SPACE) == [Text(" ")]
    assert text.push(FIRST_BYTE) == []
    assert text.push(SECOND_BYTE) == [Text("é")]
    assert text.push(PLURAL) == [Text("s")]
    assert text.flush() == [Word("és", 0, 4 / RATE)]


@pytest.mark.parametrize("after", [ONE, END])
def test_half_a_character_becomes_a_replacement(after: int) -> None:
    assert text_of(reported(SPACE, FIRST_BYTE, after)).startswith(" \ufffd")
    assert text_of(reported(SPACE, FIRST_BYTE)) == " \ufffd"


def test_control_tokens_and_tokens_beyond_the_tokenizer_say_nothing() -> None:
    assert reported(END, 1, 500, -1) == []


def test_the_same_words_come_after_saving_anywhere() -> None:
    tokens = [SPACE, FIRST_BYTE, SECOND_BYTE, PLURAL, PADDING, BOUNDARY, ONE, *[PADDING] * 14, TWO]
    whole = reported(*tokens)
    for cut in range(len(tokens)):
        first, second = spoken(), spoken()
        events = [event for token in tokens[:cut] for event in first.push(token)]
        second.load(json.loads(json.dumps(first.save())))
        events += [event for token in tokens[cut:] for event in second.push(token)]
        assert [*events, *second.flush()] == whole
