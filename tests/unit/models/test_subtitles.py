"""Subtitles: cues short enough to read, and files that players take."""

import itertools
import re

import numpy as np
import pytest

from kyutai_onnx.models import Word
from kyutai_onnx.models.text.subtitles import LINE, LONGEST_SECONDS, LONGEST_TEXT, cues, srt, vtt


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


@pytest.mark.parametrize("seed", range(5))
def test_all_words_are_shown_in_order_and_in_time(seed: int) -> None:
    words = random_talk(seed)
    made = list(cues(words))
    assert " ".join(cue.text for cue in made).split() == [word.text for word in words]
    assert made[0].start == words[0].start
    assert made[-1].end == words[-1].end
    assert all(a.end <= b.start for a, b in itertools.pairwise(made))


@pytest.mark.parametrize("seed", range(5))
def test_cues_are_short_enough_to_read(seed: int) -> None:
    for cue in cues(random_talk(seed)):
        assert len(cue.text) <= LONGEST_TEXT
        assert cue.end - cue.start <= LONGEST_SECONDS


def test_a_rest_begins_a_new_cue() -> None:
    words = said("one two") + said("three", start=1.5) + said("four", start=2.9)
    assert [cue.text for cue in cues(words)] == ["one two three", "four"]


def test_a_sentence_that_ends_begins_a_new_cue_once_there_is_a_line() -> None:
    short = said("Yes. No.")
    long = said("this is a sentence that takes more than one line. Another", each=0.1)
    assert [cue.text for cue in cues(short)] == ["Yes. No."]
    assert [cue.text for cue in cues(long)][1] == "Another"


def test_a_cue_stands_for_a_moment_at_least() -> None:
    (cue,) = cues([Word("one", 1.0, 1.0)])
    assert cue.end > cue.start


def test_a_file_for_players() -> None:
    words = said("one two", start=3725.0) + said("three", start=3800.5)
    assert srt(words) == (
        "1\n01:02:05,000 --> 01:02:05,550\none two\n\n2\n01:03:20,500 --> 01:03:20,750\nthree\n"
    )
    assert vtt(words) == (
        "WEBVTT\n\n01:02:05.000 --> 01:02:05.550\none two\n\n01:03:20.500 --> 01:03:20.750\nthree\n"
    )


def test_milliseconds_carry_over() -> None:
    assert "00:00:59,999 --> 00:01:01,000" in srt([Word("a", 59.9994, 61)])
    assert "00:01:00,000 --> 01:00:00,000" in srt([Word("a", 59.9996, 3599.9999)])


def test_long_cues_are_two_lines_of_about_a_length() -> None:
    text = srt(said("a quick brown fox jumps over the lazy dog and then sleeps", each=0.1))
    lines = text.split("\n")[2:-1]
    assert len(lines) == 2
    assert max(map(len, lines)) <= LINE
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
