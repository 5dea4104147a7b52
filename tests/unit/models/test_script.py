"""A script's words, turns and pauses, given at once or in pieces of any size."""

import random

import pytest

from kyutai_onnx.models.tts.script_parser import LONGEST_BREAK, Entry, ScriptParser
from kyutai_onnx.runtime.errors import UsageError

UNKNOWN = 0


class Letters:
    """A tokenizer that knows the letters a to z and punctuation, one token each."""

    def encode(self, text: str) -> list[int]:
        return [10 + ord(c) if c.isascii() and c.isprintable() else UNKNOWN for c in text]

    def unk_id(self) -> int:
        return UNKNOWN


def script(*, speakers: bool = False, padding_between: int = 0) -> ScriptParser:
    return ScriptParser(Letters(), 12.5, speakers=speakers, padding_between=padding_between)


def entries(*turns: str, speakers: bool = False, padding_between: int = 0) -> list[Entry]:
    parser = script(speakers=speakers, padding_between=padding_between)
    return [entry for turn in turns for entry in [*parser.feed(turn), *parser.next_turn()]]


def texts(found: list[Entry]) -> list[str]:
    return [entry.text for entry in found]


def word(text: str, padding: int = 0) -> Entry:
    return Entry(tuple(Letters().encode(text)), text, padding)


def test_words_are_parted_by_whitespace_and_keep_their_punctuation() -> None:
    assert entries("  one two,\tthree!\n\nfour ") == [
        word("one"),
        word("two,"),
        word("three!"),
        word("four"),
    ]


def test_characters_are_replaced() -> None:
    assert texts(entries("it’s (nearly) 12:30")) == ["it's", "nearly", "12", "30"]


@pytest.mark.parametrize(
    ("tag", "steps"),
    [
        ('<break time="1s"/>', 12),
        ('<break time="0.5s">', 6),
        ('<break\n time="3s" />', 38),
        ('<break time="2.s"/>', 25),
        ('<break time="1,5s"/>', 19),
        ('<break time="0s"/>', 0),
    ],
)
def test_a_break_is_an_entry_without_tokens(tag: str, steps: int) -> None:
    assert entries(f"one{tag}two") == [word("one"), Entry((), "", steps), word("two")]


@pytest.mark.parametrize(
    "text", ["<break", "<breakfast>", '<break time="s"/>', "a<b", '<break time="-1s"/>']
)
def test_what_is_no_break_is_spoken(text: str) -> None:
    assert texts(entries(text)) == text.split()


def test_a_break_of_an_hour_is_one_entry() -> None:
    assert entries('<break time="3600s"/>') == [Entry((), "", 45_000)]


@pytest.mark.parametrize("seconds", [f"{LONGEST_BREAK + 1:.0f}", "9" * 400])
def test_a_break_beyond_a_day_is_refused(seconds: str) -> None:
    with pytest.raises(UsageError, match="at most a day"):
        entries(f'<break time="{seconds}s"/>')


def test_padding_between_adds_to_what_the_tokens_take() -> None:
    assert [entry.padding for entry in entries("I see", padding_between=2)] == [2, 4]
    assert [entry.padding for entry in entries("I see", padding_between=0)] == [0, 0]


def test_a_turn_begins_with_its_speaker() -> None:
    found = entries("yes no", "why", "so", "", "and", speakers=True)
    first = [entry.tokens[0] for entry in found]
    letters = [Letters().encode(letter)[0] for letter in "n"]
    assert first == [1, letters[0], 2, 1, Letters().encode("a")[0]]
    assert entries("", "you", speakers=True)[0].tokens[0] == 2
    assert entries("me", speakers=False) == [word("me")]


def test_the_speaker_counts_as_a_token_of_the_word() -> None:
    assert entries("me", speakers=True, padding_between=1)[0].padding == 3


@pytest.mark.parametrize("text", ["", " \n", "()", ":"])
def test_nothing_is_no_entry(text: str) -> None:
    assert entries(text) == []


def test_a_word_is_reported_once_it_is_whole() -> None:
    reader = script()
    assert reader.feed("hel") == []
    assert texts(reader.feed("lo wor")) == ["hello"]
    assert texts(reader.feed("ld\n")) == ["world"]
    assert reader.flush() == []


def test_a_tag_is_waited_for_and_the_word_before_it_too() -> None:
    reader = script()
    assert reader.feed('one two<break time="1') == [word("one")]
    assert reader.feed('s"/>') == [word("two"), Entry((), "", 12)]
    assert reader.feed("<break ti") == []
    assert texts(reader.flush()) == ["<break", "ti"]


def test_pieces_make_no_difference() -> None:
    text = 'A (b) c’d<break time="1.5s"/>e <break\ttime="2s"> <breaks time="1s"> f:g<br h\n<break '
    whole = texts(entries(text))
    draw = random.Random(0)
    for _ in range(200):
        reader, found, at = script(), [], 0
        while at < len(text):
            size = draw.randint(1, 9)
            found += reader.feed(text[at : at + size])
            at += size
        assert texts(found + reader.flush()) == whole


def test_a_saved_script_goes_on() -> None:
    reader, other = script(speakers=True), script(speakers=True)
    reader.feed("one tw")
    other.load(reader.save())
    assert other.feed("o ") == [word("two")]
    assert texts(other.next_turn()) == []
    assert other.feed("three ")[0].tokens[0] == 2


def test_words_that_cannot_be_spelled_are_noted() -> None:
    reader = script()
    reader.feed("fine \N{GRINNING FACE} \x07 okay ")
    assert reader.unspelled == ["\N{GRINNING FACE}", "\x07"]
    reader.feed("\N{GRINNING FACE} " * 100)
    assert len(reader.unspelled) < 20


@pytest.mark.parametrize("text", ["ab " * 33_334, "x" * 100_000, "<" * 100_000, "<break " * 14_286])
def test_a_hundred_thousand_characters_are_no_trouble(text: str) -> None:
    found = texts(entries(text))
    assert found == text.split()
