"""Subtitles: cues short enough to read, and files that players take."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest

from kyutai_onnx.models import Pause, Word
from kyutai_onnx.models.text.subtitles import (
    DEFAULT_LAYOUT,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Cue,
    CueLayout,
    CueMaker,
    cues,
    srt,
    vtt,
)


def said(text: str, start: float = 0.0, each: float = 0.25, rest: float = 0.05) -> list[Word]:
    """Words one after the other."""
    step = each + rest
    return [
        Word(word, start + i * step, start + i * step + each) for i, word in enumerate(text.split())
    ]


def random_talk(seed: int) -> list[Word]:
    noise = np.random.default_rng(seed)
    words, time = [], 0.0
    for _ in range(200):
        time += float(noise.choice([0.02, 0.3, 1.5], p=[0.8, 0.15, 0.05]))
        length = float(noise.uniform(0.1, 0.8))
        ending = str(noise.choice(["", "", "", ".", "?"]))
        words.append(Word("x" * int(noise.integers(1, 13)) + ending, time, time + length))
        time += length
    return words


SEEDS = range(5)
LAYOUTS = [
    CueLayout(),
    CueLayout(line_width=20, lines=1),
    CueLayout(words=3),
    CueLayout(line_width=60, lines=3),
]


def texts(words: Sequence[Word | Pause], layout: CueLayout = DEFAULT_LAYOUT) -> list[str]:
    return [cue.text for cue in cues(words, layout)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_all_words_are_shown_in_order_and_in_time(seed: int, layout: CueLayout) -> None:
    words = random_talk(seed)
    made = list(cues(words, layout))
    assert [word for cue in made for word in cue.words] == words
    for cue, following in itertools.pairwise(made):
        assert cue.start == cue.words[0].start
        assert cue.start < cue.end <= following.start


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_cues_fit_their_layout(seed: int, layout: CueLayout) -> None:
    for cue in cues(random_talk(seed), layout):
        assert len(cue.lines) <= layout.lines
        for line in cue.lines:
            assert len(" ".join(word.text for word in line)) <= layout.line_width
        assert cue.end - cue.start <= LONGEST_SECONDS
        assert len(cue.words) <= (layout.words or 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cue_is_shown_for_a_second_or_until_the_next(seed: int) -> None:
    for cue, following in itertools.pairwise(cues(random_talk(seed))):
        assert cue.end - cue.start >= SHORTEST_SECONDS or cue.end == following.start


@pytest.mark.parametrize("seed", SEEDS)
def test_words_that_come_one_by_one_make_the_same_cues(seed: int) -> None:
    words, maker = random_talk(seed), CueMaker()
    settled: list[Cue] = []
    for count, word in enumerate(words, 1):
        settled += maker.push(word)
        if count % 20 == 0:
            assert [*settled, *maker.open] == list(cues(words[:count]))
    assert len(settled) > 10


def test_a_pause_begins_a_new_cue() -> None:
    words = said("one two") + said("three", start=0.9) + said("four", start=2.5)
    assert texts(words) == ["one two three", "four"]


def test_a_pause_that_the_word_before_fills_begins_a_new_cue() -> None:
    """A model closes a word when the next one begins."""
    words = [Word("one", 0, 0.3), Word("two", 0.4, 4.9), Word("three", 5, 5.3)]
    assert texts(words) == ["one two", "three"]
    assert next(iter(cues(words))).end < 1.5


def test_a_pause_that_the_model_reports_begins_a_new_cue() -> None:
    first, second = said("we went home"), said("it was late", start=1.2)
    assert texts([*first, *second]) == ["we went home it was late"]
    pause = Pause(first[-1].end + 0.1, 0.9)
    for events in ([*first[:-1], pause, first[-1], *second], [pause, *first, *second]):
        assert texts(events) == ["we went home", "it was late"]
    assert texts([*first, Pause(0.0, 0.9), *second]) == ["we went home it was late"]


def test_a_sentence_that_ends_begins_a_new_cue() -> None:
    words = said("We have time for one. Another will follow it later.")
    assert texts(words) == ["We have time for one.", "Another will follow it later."]


def test_short_sentences_share_a_cue() -> None:
    assert texts(said("Yes. No.")) == ["Yes. No."]


@pytest.mark.parametrize("text", ["We met Dr. Smith there today", "It was 9 p.m. when they came"])
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert texts(said(text, each=0.4)) == [text]


@pytest.mark.parametrize("length", range(8, 40, 3))
def test_no_word_of_a_long_sentence_stands_alone(length: int) -> None:
    made = list(cues(said("word " * length, each=0.1)))
    assert len(made) == 1 or min(len(cue.words) for cue in made) > 1
    assert all(len(line) > 1 for cue in made for line in cue.lines)


def test_a_long_sentence_is_cut_after_a_comma() -> None:
    first = "The committee that met on Monday agreed to every point,"
    then = "although several members had left the room."
    assert texts(said(f"{first} {then}", each=0.1)) == [first, then]


def test_a_word_of_no_length_is_shown() -> None:
    (cue,) = cues([Word("one", 1.0, 1.0)])
    assert cue.end == 2.0
    at_once = list(cues([Word("one", 1.0, 1.0), Word("two", 1.0, 1.5)], CueLayout(words=1)))
    assert all(cue.end > cue.start for cue in at_once)


def test_a_word_that_is_longer_than_a_line_stands_in_one() -> None:
    words = said(f"before {'x' * 50} after")
    assert "x" * 50 in srt(words).split("\n")


def test_one_word_a_cue() -> None:
    words = said("one two three")
    assert texts(words, CueLayout(words=1)) == ["one", "two", "three"]


def test_each_word_is_underlined_in_its_turn() -> None:
    words = said("one two <b>", start=1.0)
    made = vtt(words, CueLayout(highlight=True)).split("\n\n")[1:]
    assert [block.strip().split("\n") for block in made] == [
        ["00:00:01.000 --> 00:00:01.300", "<u>one</u> two &lt;b&gt;"],
        ["00:00:01.300 --> 00:00:01.600", "one <u>two</u> &lt;b&gt;"],
        ["00:00:01.600 --> 00:00:02.000", "one two <u>&lt;b&gt;</u>"],
    ]
    assert srt(words, CueLayout(highlight=True)).startswith("1\n")


def test_a_file_for_players() -> None:
    words = said("one two", start=3725.0) + said("three", start=3800.5)
    assert srt(words) == (
        "1\n01:02:05,000 --> 01:02:06,000\none two\n\n2\n01:03:20,500 --> 01:03:21,500\nthree\n"
    )
    assert vtt(words) == (
        "WEBVTT\n\n01:02:05.000 --> 01:02:06.000\none two\n\n01:03:20.500 --> 01:03:21.500\nthree\n"
    )


def test_milliseconds_carry_over() -> None:
    assert "00:00:59,999 --> 00:01:01,000" in srt([Word("a" * 9, 59.9994, 61)])
    assert "00:01:00,000 --> 00:01:01,000" in srt([Word("a", 59.9996, 60)])


def test_long_cues_are_two_lines_of_about_a_length() -> None:
    text = srt(said("a quick brown fox jumps over the lazy dog and then sleeps", each=0.1))
    lines = text.split("\n")[2:-1]
    assert len(lines) == 2
    assert abs(len(lines[0]) - len(lines[1])) < 8


def test_marks_are_escaped_where_they_mean_something() -> None:
    words = said("a<b & c>d")
    assert "a&lt;b &amp; c&gt;d" in vtt(words)
    assert "a<b & c>d" in srt(words)


def test_no_words_are_an_empty_file() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n"


def test_cues_have_no_empty_line_within() -> None:
    for seed in range(5):
        for block in srt(random_talk(seed)).split("\n\n"):
            assert re.match(r"\d+\n\d\d:\d\d:\d\d,\d\d\d --> ", block)
