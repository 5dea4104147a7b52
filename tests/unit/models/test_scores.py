"""Scores: word errors, word times and pauses, counted over samples that are made up."""

import pytest

from kyutai_onnx.cli.evaluation.datasets import Sample
from kyutai_onnx.cli.evaluation.scores import Score, normalizer
from kyutai_onnx.cli.option_values import Normalizer
from kyutai_onnx.models import Event, Pause, Word

TIMES = {"one": 0.5, "two": 1.0, "three": 1.5, "four": 2.0}


def words(text: str, shift: float = 0.0) -> list[Word]:
    return [
        Word(word, TIMES.get(word, 3.0) + shift, TIMES.get(word, 3.0) + shift + 0.4)
        for word in text.split()
    ]


def sample(text: str, timed: bool = False) -> Sample:
    return Sample("a.wav", text, tuple(words(text)) if timed else ())


def score() -> Score:
    return Score(normalizer(Normalizer.NONE))


def add(total: Score, expected: str, found: str) -> bool:
    return not total.add(sample(expected), words(found), audio=2.0, compute=0.5).errors


def test_right_texts_have_no_errors() -> None:
    total = score()
    assert add(total, "one two", "one two")
    assert (total.word_error_rate, total.words, total.errors) == (0, 2, 0)


@pytest.mark.parametrize(
    ("expected", "found", "errors"),
    [
        ("one two three", "one four three", 1),
        ("one two three", "one three", 1),
        ("one two three", "one two two three", 1),
        ("one two three", "", 3),
        ("one", "two three four", 3),
        ("", "two three", 2),
        ("", "", 0),
    ],
)
def test_errors_are_substitutions_deletions_and_insertions(
    expected: str, found: str, errors: int
) -> None:
    total = score()
    assert add(total, expected, found) == (errors == 0)
    assert total.errors == errors
    assert total.words == len(expected.split())


def test_the_rate_is_over_all_words_not_over_samples() -> None:
    total = score()
    add(total, "one two three four", "one two three four")
    add(total, "one", "two")
    assert total.word_error_rate == pytest.approx(1 / 5)
    figures = total.as_json(has_pauses=False)
    assert figures["samples"] == 2
    assert figures["cer"] == pytest.approx(3 / (len("one two three four") + 3))
    assert figures["times_real_time"] == pytest.approx(4.0)


def test_nothing_to_say_has_no_rate() -> None:
    total = score()
    add(total, "", "")
    assert total.as_json(has_pauses=True)["wer"] == 0
    assert total.lines(has_pauses=True)


def test_starts_are_compared_where_words_are_right() -> None:
    total = score()
    total.add(sample("one two three", timed=True), words("one four three", 0.25), 2.0, 0.5)
    total.add(sample("one two", timed=True), words("three one two", -0.05), 2.0, 0.5)
    assert total.start_errors == pytest.approx([0.25, 0.25, -0.05, -0.05])
    figures = total.as_json(has_pauses=False)
    assert figures["mean_start_error"] == pytest.approx(0.15)
    assert figures["mean_start_bias"] == pytest.approx(0.1)


def test_samples_without_times_do_not_count_for_them() -> None:
    total = score()
    add(total, "one two", "one two")
    total.add(sample("one two", timed=True), [], 2.0, 0.5)
    assert total.start_errors == []
    assert "mean_start_error" not in total.as_json(has_pauses=False)


@pytest.mark.parametrize(
    ("times", "found", "false"),
    [((2.5,), 1, 0), ((2.85,), 1, 0), ((1.95,), 1, 0), ((3.0,), 0, 0), ((1.0,), 0, 1), ((), 0, 0)],
)
def test_a_pause_is_found_near_the_end_and_false_before(
    times: tuple[float, ...], found: int, false: int
) -> None:
    total = score()
    events: list[Event] = [*words("one two three four"), *(Pause(t, 0.9) for t in times)]
    total.add(sample("one two three four", timed=True), events, 3.0, 0.5)
    assert (total.pauses_found, total.pauses_false, total.pauses_expected) == (found, false, 1)


def test_pauses_are_parts_of_the_samples_that_have_times() -> None:
    total = score()
    add(total, "one", "one")
    for times in ((2.4,), (1.0, 2.4), (), (2.2,)):
        events: list[Event] = [Pause(time, 0.9) for time in times]
        total.add(sample("one two three four", timed=True), events, 3.0, 0.5)
    figures = total.as_json(has_pauses=True)
    assert figures["pauses_found"] == pytest.approx(3 / 4)
    assert figures["pauses_false"] == pytest.approx(1 / 4)
    assert "pauses_found" not in total.as_json(has_pauses=False)
    assert "75.0 % found" in total.lines(has_pauses=True)[-1]


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        (
            Normalizer.ENGLISH,
            [("Twenty-one, please!", "21 please"), ("it's colour", "it is color")],
        ),
        (Normalizer.BASIC, [("Ça va ?", "ça va")]),
    ],
)
def test_texts_are_made_comparable(kind: Normalizer, same: list[tuple[str, str]]) -> None:
    for one, other in same:
        assert normalizer(kind)(one).split() == normalizer(kind)(other).split()
        assert normalizer(Normalizer.NONE)(one) == one
