"""The text-to-speech machine, step by step."""

import json
import random

import pytest

from kyutai_onnx.models.tts.script_parser import Entry
from kyutai_onnx.models.tts.state_machine import StateMachineConfig, TextToSpeechStateMachine

PAD, NEW = 3, 0
MANY = 100


def pacing(ahead: int = 0, max_padding: int = 3, initial_padding: int = 2) -> StateMachineConfig:
    return StateMachineConfig(PAD, NEW, MANY, ahead, max_padding, initial_padding)


def machine(*entries: Entry, ahead: int = 0, complete: bool = True) -> TextToSpeechStateMachine:
    made = TextToSpeechStateMachine(pacing(ahead))
    made.add(entries)
    made.complete = complete
    return made


def word(*tokens: int, padding: int = 0) -> Entry:
    return Entry(tokens, "w" + "-".join(map(str, tokens)), padding)


def run(machine: TextToSpeechStateMachine, *tokens: int) -> list[int]:
    return [machine.process(step, token)[0] for step, token in enumerate(tokens)]


def both(first: int, second: int = -1) -> int:
    """A token for each of two text streams."""
    return (second + 1) * MANY + first


def test_nothing_begins_in_the_initial_padding() -> None:
    assert run(machine(word(7)), NEW, NEW, NEW, PAD) == [PAD, PAD, NEW, 7]


def test_tokens_of_a_word_are_fed_whatever_the_model_says() -> None:
    found = run(machine(word(7, 8, 9)), PAD, PAD, NEW, NEW, 55, PAD, PAD)
    assert found == [PAD, PAD, NEW, 7, 8, 9, PAD]


def test_a_token_that_is_neither_is_a_padding() -> None:
    assert run(machine(word(7)), 55, 56, 57) == [PAD, PAD, NEW]  # by then a word is forced


def test_only_so_many_paddings_may_be_chosen() -> None:
    found = run(machine(word(7), word(8)), PAD, PAD, NEW, *[PAD] * 5)
    assert found == [PAD, PAD, NEW, 7, PAD, PAD, NEW, 8]


def test_padding_of_an_entry_is_forced() -> None:
    found = run(machine(word(7, padding=4), word(8)), PAD, PAD, *[NEW] * 7)
    assert found == [PAD, PAD, NEW, 7, PAD, PAD, PAD, NEW, 8]


def test_a_break_begins_where_a_word_would_and_counts_its_own_step() -> None:
    pause = Entry((), "", 3)
    found = run(machine(word(7), pause, word(8)), PAD, PAD, *[NEW] * 7)
    assert found == [PAD, PAD, NEW, 7, PAD, PAD, PAD, NEW, 8]


def test_entries_are_reported_when_they_begin() -> None:
    first, pause = word(7), Entry((), "", 1)
    asked = machine(first, pause)
    reported = [asked.process(step, NEW)[1] for step in range(6)]
    assert reported == [None, None, first, None, pause, None]


def test_the_end_is_where_a_word_is_asked_for_and_none_is_left() -> None:
    asked = machine(word(7))
    assert run(asked, *[NEW] * 7) == [PAD, PAD, NEW, 7, PAD, PAD, PAD]
    assert asked.end_step == 4


def test_with_a_second_stream_a_word_begins_at_once() -> None:
    asked = machine(word(7, 8), word(9), ahead=1)
    found = run(asked, *[NEW] * 7)
    assert found == [
        both(PAD),
        both(PAD),
        both(7, NEW),
        both(8, 9),
        both(9, NEW),
        both(PAD, NEW),
        both(PAD),
    ]


def test_the_second_stream_skips_pauses() -> None:
    entries = (word(7, 8, 9), Entry((), "", 1), word(10, 11), word(12))
    found = run(machine(*entries, ahead=2), *[NEW] * 5)
    assert found[2:] == [both(7, NEW), both(8, 12), both(9)]


@pytest.mark.parametrize(
    ("entries", "ahead", "ready"),
    [
        ((), 0, False),
        ((word(7),), 0, True),
        ((word(7), word(8)), 2, False),
        ((word(7), word(8), word(9)), 2, True),
        ((word(7), Entry((), "", 1), word(9)), 2, False),
        ((Entry((), "", 1),), 2, True),
    ],
)
def test_a_step_waits_for_the_words_it_could_need(
    entries: tuple[Entry, ...], ahead: int, ready: bool
) -> None:
    asked = machine(*entries, ahead=ahead, complete=False)
    assert asked.ready  # the initial padding needs no text
    run(asked, PAD, PAD)
    assert asked.ready is ready
    asked.complete = True
    assert asked.ready


def test_no_text_is_needed_while_tokens_are_fed() -> None:
    asked = machine(word(7, 8), complete=False)
    run(asked, PAD, PAD, NEW)
    assert asked.ready
    asked.process(3, PAD)
    asked.process(4, PAD)
    assert not asked.ready


def made_up(draw: random.Random, count: int) -> list[Entry]:
    kinds = [
        lambda: Entry((), "", draw.randint(0, 4)),
        lambda: word(
            *draw.choices(range(4, MANY), k=draw.randint(1, 4)), padding=draw.randint(0, 5)
        ),
    ]
    return [draw.choices(kinds, [1, 4])[0]() for _ in range(count)]


@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_text_that_comes_late_changes_nothing(ahead: int) -> None:
    draw = random.Random(ahead)
    for _ in range(30):
        entries = made_up(draw, draw.randint(0, 12))
        said = draw.choices([NEW, PAD, 55], k=400)
        whole = run(machine(*entries, ahead=ahead), *said)
        late, left, found = machine(ahead=ahead, complete=False), list(entries), []
        for step, token in enumerate(said):
            while not late.ready:
                late.add(left[:1])
                late.complete = not left
                left = left[1:]
            found.append(late.process(step, token)[0])
        assert found == whole


def test_a_saved_machine_goes_on() -> None:
    draw = random.Random(5)
    entries, said = made_up(draw, 12), draw.choices([NEW, PAD], k=200)
    one = machine(*entries, ahead=2)
    first = run(one, *said[:17])
    other = TextToSpeechStateMachine(pacing(2))
    other.load(json.loads(json.dumps(one.save())))
    rest = [other.process(step, said[step])[0] for step in range(17, 200)]
    assert first + rest == run(machine(*entries, ahead=2), *said)
    assert other.end_step is not None
