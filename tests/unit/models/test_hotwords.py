"""Hotwords: what phrases add to the scores of text, and what they never do."""

from collections.abc import Sequence

import numpy as np
import pytest
from support.speech import Array

from kyutai_onnx.models import Event, SpeechToText, Word
from kyutai_onnx.models.stt.hotwords import (
    BONUS,
    MOST_PHRASES,
    Hotword,
    HotwordBias,
    HotwordTree,
    parse_hotwords,
)
from kyutai_onnx.runtime.errors import UsageError

PIECES = [
    "<unk>",
    "<s>",
    "</s>",
    "<pad>",
    "\u2581lo",
    "on",
    "ah",
    "\u2581look",
    "\u2581new",
    "\u2581york",
]
PADDING, BOUNDARY = 3, 0


class Spelling:
    """A tokenizer of pieces; only small letters can be spelled."""

    def encode(self, text: str) -> list[int]:
        known = {"loonah": [4, 5, 6], "look": [7], "new york": [8, 9], "new": [8], "lo": [4]}
        return known.get(text, [0])

    def id_to_piece(self, token: int) -> str:
        return PIECES[token]

    def unk_id(self) -> int:
        return 0


def bias_of(*hotwords: Hotword) -> HotwordBias:
    tree = HotwordTree(hotwords, Spelling())  # type: ignore[arg-type]
    return HotwordBias(tree, range(PADDING + 1), BOUNDARY)


def scores(best: int = 7) -> Array:
    found = np.arange(len(PIECES), dtype=np.float32) / 100
    found[best] = 5
    return found


def added(bias: HotwordBias, tokens: Sequence[int] = ()) -> dict[int, float]:
    """What is added to each token, after some were written."""
    for token in tokens:
        bias.take(token)
    before = scores()
    after = bias.bias(before)
    changes = np.flatnonzero(after != before)
    return {int(i): pytest.approx(after[i] - before[i], abs=1e-5) for i in changes}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ,\n", ()),
        ("Kyutai", (("Kyutai", BONUS),)),
        ("Loonah, Kyutai:3", (("Loonah", BONUS), ("Kyutai", 3.0))),
        ("one\ntwo : 0.5\r\n# three\nfour", (("one", BONUS), ("two", 0.5), ("four", BONUS))),
        ("a:b:1", (("a:b", 1.0),)),
    ],
)
def test_phrases_are_read(text: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert parse_hotwords(text) == tuple(Hotword(*each) for each in expected)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Kyutai:loud", "loud"),
        ("Kyutai:-1", "from 0 to 20"),
        ("Kyutai:50", "from 0 to 20"),
        ("Kyutai:nan", "Kyutai"),
        ("Kyutai:inf", "Kyutai"),
        (":3", "hotword"),
        ("a" * 101, "aaa"),
        (",".join(["a"] * (MOST_PHRASES + 1)), str(MOST_PHRASES)),
    ],
)
def test_what_is_no_phrase_is_refused(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_hotwords(text)


def test_a_phrase_that_cannot_be_spelled_is_refused() -> None:
    with pytest.raises(UsageError, match="\u6f22"):
        bias_of(Hotword("\u6f22"))


def test_a_phrase_is_found_in_any_capitals() -> None:
    assert added(bias_of(Hotword("LOONAH"))) == {4: BONUS}


def test_each_token_of_a_phrase_gets_its_bonus() -> None:
    bias = bias_of(Hotword("loonah", 3), Hotword("new york"))
    assert added(bias) == {4: 3, 8: BONUS}
    assert added(bias, [4]) == {4: 3, 8: BONUS, 5: 3}
    assert added(bias, [5]) == {4: 3, 8: BONUS, 6: 3}
    assert added(bias, [6]) == {4: 3, 8: BONUS}


def test_of_two_phrases_that_begin_alike_the_larger_bonus_counts() -> None:
    assert added(bias_of(Hotword("new", 1), Hotword("new york", 4))) == {8: 4}


def test_a_phrase_that_is_broken_off_adds_nothing_more() -> None:
    bias = bias_of(Hotword("loonah"))
    assert added(bias, [4, 7]) == {4: BONUS}
    assert added(bias, [4, BOUNDARY]) == {4: BONUS}, "a word's rest after its end"


def test_a_phrase_of_several_words_goes_on_behind_a_boundary() -> None:
    assert added(bias_of(Hotword("new york")), [8, PADDING, BOUNDARY]) == {8: BONUS, 9: BONUS}


@pytest.mark.parametrize("silent", [PADDING, BOUNDARY, 2])
def test_nothing_is_written_where_the_model_writes_nothing(silent: int) -> None:
    before = scores(silent)
    bias = bias_of(Hotword("loonah", 20))
    np.testing.assert_array_equal(bias.bias(before), before)


def test_scores_that_are_given_stay_as_they_are() -> None:
    before = scores()
    bias_of(Hotword("loonah")).bias(before)
    np.testing.assert_array_equal(before, scores())


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Word)]


def transcribed(model: SpeechToText, pcm: Array, hotwords: str | None) -> list[Event]:
    stream = model.stream(hotwords=hotwords)
    return [*stream.feed(pcm), *stream.flush()]


def test_a_name_is_written_as_the_hotwords_spell_it(model: SpeechToText, pcm: Array) -> None:
    """`six` becomes `sixty` by a large bonus; words unlike it stay."""
    plain, forced = transcribed(model, pcm, None), transcribed(model, pcm, "sixty:10")
    assert "sixty" in texts(forced)
    assert [word.replace("sixty", "six") for word in texts(forced)] == texts(plain)


def test_without_hotwords_or_with_others_no_token_changes(model: SpeechToText, pcm: Array) -> None:
    plain = transcribed(model, pcm, None)
    assert transcribed(model, pcm, "") == plain
    assert transcribed(model, pcm, "sixty:0") == plain


def test_silence_stays_silent(model: SpeechToText) -> None:
    assert transcribed(model, np.zeros(3 * model.sample_rate, np.float32), "sixty:10") == []


def test_rows_have_hotwords_of_their_own(model: SpeechToText, pcm: Array) -> None:
    batch = model.batch(3)
    lists = (None, "sixty:10", None)
    rows = [batch.join(model.task(hotwords=each)) for each in lists]
    for row in rows:
        row.feed(pcm)
        row.end()
    while batch.step():
        pass
    found = [texts(row.events()) for row in rows]
    assert found[0] == found[2] == texts(transcribed(model, pcm, None))
    assert found[1] == texts(transcribed(model, pcm, "sixty:10"))


def test_a_saved_stream_goes_on_within_a_phrase(model: SpeechToText, pcm: Array) -> None:
    whole = texts(transcribed(model, pcm, "sixty:10"))
    for frame in (9, 10, 11, 12):
        first = model.stream(hotwords="sixty:10")
        cut = frame * model.frame_size
        found = first.feed(pcm[:cut])
        other = model.stream(hotwords="sixty:10")
        other.load(first.save())
        assert texts([*found, *other.feed(pcm[cut:]), *other.flush()]) == whole


@pytest.mark.parametrize("given", ["Kyutai:x", "\u6f22"])
def test_a_stream_refuses_hotwords_that_are_none(model: SpeechToText, given: str) -> None:
    with pytest.raises(UsageError):
        model.stream(hotwords=given)
