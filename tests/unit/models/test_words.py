"""Words and their times from tokens, beside the rule of Kyutai's script written out plainly."""

import math

import numpy as np
import pytest

from kyutai_onnx.models import Word, WordStarted
from kyutai_onnx.models.stt.words import WordAssembler

BOUNDARY, EOS, PADDING = 0, 2, 3
RATE, LAG = 12.5, 0.5


class Letters:
    """A tokenizer whose token `n` is the `n`th letter, every fourth one beginning a new word."""

    def decode(self, ids: list[int]) -> str:
        return "".join(self._piece(token) for token in ids).strip(" ")

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 97 for letter in text]

    @staticmethod
    def _piece(token: int) -> str:
        assert token > PADDING
        return (" " if token % 4 == 0 else "") + chr(97 + token)


def plainly(tokens: list[int]) -> list[Word]:
    """Words of a whole sequence at once: what lies between boundaries is spread over its words.

    The script fails where the last word does not end within a second; no text is lost there.
    """
    edges = [step for step, token in enumerate(tokens) if token == BOUNDARY]
    words: list[Word] = []
    for number, edge in enumerate(edges):
        start = edge + 1
        if number + 1 < len(edges):
            end: float = edges[number + 1]
            stop = edges[number + 1]
        elif EOS in tokens[start:]:
            end = stop = tokens.index(EOS, start)
        else:
            end = min(len(tokens), start + RATE)
            stop = len(tokens)
        words += spread(tokens[start:stop], start, end)
    return words


def spread(tokens: list[int], start: float, end: float) -> list[Word]:
    texts = Letters().decode([token for token in tokens if token > PADDING]).split()
    words = []
    for number, text in enumerate(texts):
        after = max(start, end) if number == len(texts) - 1 else start + len(text)
        words.append(Word(text, seconds(start), seconds(after)))
        start = after
    return words


def seconds(step: float) -> float:
    return round(max(0.0, step / RATE - LAG), 3)


def assembler(*, live: bool = False) -> WordAssembler:
    return WordAssembler(Letters(), RATE, LAG, padding=PADDING, boundary=BOUNDARY, live=live)


def assemble(words: WordAssembler, tokens: list[int]) -> list[Word | WordStarted]:
    return [word for token in tokens for word in words.push(token)]


def random_tokens(seed: int, count: int) -> list[int]:
    noise = np.random.default_rng(seed)
    boundary, end = (0.2, 0.01) if seed % 2 else (0.05, 0.06)
    chances = np.array([boundary, 0.01, end, 0.5, *[0.28 / 16] * 16])
    return [int(t) for t in noise.choice(len(chances), count, p=chances / chances.sum())]


@pytest.mark.parametrize("seed", range(40))
def test_words_are_those_of_the_script(seed: int) -> None:
    tokens = random_tokens(seed, seed * 3)
    words = assembler()
    assert [*assemble(words, tokens), *words.flush()] == plainly(tokens)


def test_a_word_comes_when_the_next_boundary_closes_it() -> None:
    words = assembler()
    assert assemble(words, [PADDING] * 9 + [BOUNDARY, 5, 6, PADDING]) == []
    assert words.push(BOUNDARY) == [Word("fg", pytest.approx(0.3), pytest.approx(0.54))]


def test_tokens_before_the_first_boundary_are_no_word() -> None:
    words = assembler()
    assert assemble(words, [5, 6, 7]) == []
    assert words.flush() == []


def test_a_boundary_after_a_boundary_is_no_word() -> None:
    words = assembler()
    assert assemble(words, [BOUNDARY, BOUNDARY, PADDING, BOUNDARY]) == []


def test_words_said_as_one_get_a_frame_a_token() -> None:
    words = assembler()
    found = assemble(words, [PADDING] * 19 + [BOUNDARY, 5, 6, 8, 9, 10, 12, PADDING, BOUNDARY])
    assert [word.text for word in found] == ["fg", "ijk", "m"]
    starts = [1.1, 1.1 + 2 / RATE, 1.1 + 5 / RATE]
    assert [word.start for word in found] == pytest.approx(starts)
    assert [word.end for word in found] == pytest.approx([*starts[1:], 27 / RATE - LAG])


def test_the_last_word_ends_with_the_stream_or_a_second_later() -> None:
    for paddings, end in ((3, 25 / RATE), (300, (21 + RATE) / RATE)):
        words = assembler()
        assemble(words, [PADDING] * 20 + [BOUNDARY, 5] + [PADDING] * paddings)
        (word,) = words.flush()
        assert word.start == pytest.approx(21 / RATE - LAG)
        assert word.end == pytest.approx(end - LAG)
        assert words.flush() == []


def test_no_word_ends_before_it_begins() -> None:
    words = assembler()
    assemble(words, [PADDING] * 20 + [BOUNDARY] + [8] * 30)
    found = words.flush()
    assert len(found) == 30
    assert all(word.end >= word.start for word in found)


def test_times_do_not_go_below_zero() -> None:
    words = assembler()
    assert assemble(words, [BOUNDARY, 5, BOUNDARY]) == [Word("f", 0.0, 0.0)]


def test_what_is_being_spoken_is_known_before_it_ends() -> None:
    words = assembler()
    assemble(words, [PADDING] * 20 + [BOUNDARY])
    assert (words.partial, words.open_start) == ("", None)
    words.push(5)
    assert (words.partial, words.open_start) == ("f", pytest.approx(21 / RATE - LAG))
    words.push(PADDING)
    words.push(6)
    assert words.partial == "fg"
    words.push(BOUNDARY)
    assert (words.partial, words.open_start) == ("", None)


def test_text_is_known_up_to_the_last_token() -> None:
    words = assembler()
    assert words.time == 0
    assemble(words, [PADDING] * 20)
    assert words.time == pytest.approx(20 / RATE - LAG)


def test_words_of_a_prompt_are_left_out_and_times_count_from_its_end() -> None:
    whole, cut = assembler(), assembler()
    tokens = random_tokens(100, 300)
    cut.skip(100, 6.0)
    first, second = ([*assemble(words, tokens), *words.flush()] for words in (whole, cut))
    late = [word for word in first if word.start + LAG >= 100 / RATE]
    assert 0 < len(second) <= len(late)
    for ours, theirs in zip(reversed(second), reversed(late), strict=False):
        assert ours.text == theirs.text
        assert ours.start == pytest.approx(max(0, theirs.start - 6.0))


def test_a_word_of_a_skipped_prompt_is_not_shown_while_it_grows() -> None:
    words = assembler()
    words.skip(10, 0.0)
    assemble(words, [BOUNDARY, 5])
    assert words.partial == ""


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_saved_and_loaded_words_go_on(cut: int) -> None:
    tokens = random_tokens(7, 60)
    whole, first, second = assembler(), assembler(), assembler()
    found = assemble(first, tokens[:cut])
    second.load(first.save())
    found += [*assemble(second, tokens[cut:]), *second.flush()]
    assert found == [*assemble(whole, tokens), *whole.flush()]


def test_what_is_saved_is_not_changed_by_going_on() -> None:
    words = assembler()
    assemble(words, [BOUNDARY, 5])
    saved = words.save()
    words.push(6)
    again = assembler()
    again.load(saved)
    assert again.partial == "f"


def test_silence_of_hours_is_not_kept() -> None:
    words = assembler()
    assemble(words, [BOUNDARY, 5, 6])
    before = words.save()
    assemble(words, [PADDING] * 100_000)
    assert words.save() == before | {"step": 100_003}


def texts(events: list[Word | WordStarted], kind: type[Word | WordStarted]) -> list[str]:
    return [event.text for event in events if type(event) is kind]


@pytest.mark.parametrize("seed", range(40))
def test_live_words_change_no_others_and_lose_no_text(seed: int) -> None:
    tokens, words = random_tokens(seed, seed * 3), assembler(live=True)
    events = [*assemble(words, tokens), *words.flush()]
    assert [event for event in events if type(event) is Word] == plainly(tokens)
    assert "".join(texts(events, WordStarted)).replace(" ", "") == "".join(texts(events, Word))


@pytest.mark.parametrize("seed", range(20))
def test_live_words_are_the_words_where_each_is_said_in_one(seed: int) -> None:
    """Each as soon as a padding or a boundary follows, with its start."""
    noise, words = np.random.default_rng(seed), assembler(live=True)
    tokens: list[int] = []
    for _ in range(12):
        said = [4 * int(noise.integers(1, 6)), *(4 * noise.integers(1, 5, 2) + 1).tolist()]
        tokens += [BOUNDARY, *said, *[PADDING] * int(noise.integers(0, 4))]
    found: list[Word | WordStarted] = []
    for index, token in enumerate(tokens):
        made = words.push(token)
        follows = token <= PADDING and index > 0 and tokens[index - 1] > PADDING
        assert len(texts(made, WordStarted)) == follows
        assert [type(event) for event in made] in ([], [WordStarted], [Word], [WordStarted, Word])
        found += made
    found += words.flush()
    recognized = [event for event in found if type(event) is WordStarted]
    closed = [event for event in found if type(event) is Word]
    assert [(one.text, one.start) for one in recognized] == [
        (one.text, one.start) for one in closed
    ]


def test_words_said_as_one_are_reported_as_one() -> None:
    words = assembler(live=True)
    assert assemble(words, [BOUNDARY, 5, 8, 9]) == []
    assert assemble(words, [PADDING, PADDING]) == [WordStarted("f ij", 0.0)]
    assert assemble(words, [10, PADDING]) == [WordStarted("k", 0.0)]
    assert texts(words.flush(), Word) == ["f", "ijk"]


def test_saved_words_are_not_reported_again() -> None:
    words, again = assembler(live=True), assembler(live=True)
    assemble(words, [BOUNDARY, 5, PADDING])
    again.load(words.save())
    assert texts(assemble(again, [PADDING, BOUNDARY]), WordStarted) == []


def recognized(tokens: list[tuple[int, float | None]]) -> list[float | None]:
    """The confidence of each word of tokens with their probabilities."""
    words = WordAssembler(Letters(), RATE, LAG, padding=PADDING, boundary=BOUNDARY)
    found: list[Word | WordStarted] = []
    for token, probability in tokens:
        found += words.push(token, None if probability is None else math.log(probability))
    return [word.confidence for word in found + words.flush() if isinstance(word, Word)]


def test_a_confidence_is_the_probability_of_all_tokens_of_a_word() -> None:
    first = [(BOUNDARY, 0.1), (5, 0.5), (PADDING, 0.2), (6, 0.9)]
    assert recognized([*first, (BOUNDARY, 0.3), (7, 0.25)]) == [0.45, 0.25]


def test_words_without_a_boundary_between_them_have_confidences_of_their_own() -> None:
    """Tokens 4 and 8 begin words."""
    tokens = [(BOUNDARY, None), (4, 0.5), (5, 0.5), (8, 0.8), (9, 0.5), (12, 0.1)]
    assert recognized(tokens) == [0.25, 0.4, 0.1]


def test_a_confidence_that_is_not_known_of_all_tokens_is_not_known() -> None:
    assert recognized([(BOUNDARY, 1.0), (5, 0.5), (6, None), (BOUNDARY, 1.0), (7, 0.5)]) == [
        None,
        0.5,
    ]


def test_a_word_that_has_started_has_the_confidence_of_the_text_so_far() -> None:
    words = assembler(live=True)
    found = [*words.push(BOUNDARY), *words.push(5, math.log(0.5)), *words.push(PADDING)]
    found += [*words.push(8, math.log(0.5)), *words.push(PADDING)]
    assert [word.confidence for word in found] == [0.5, 0.25]
