"""`turns`: a policy over recordings, what it misses and where it cuts in."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import without_heads
from commands import Command
from speech import Array, hiss, write_wav

from kyutai_onnx.cli.turn_replay import AFTER_SECONDS, Replayed, Tally, turns_of
from kyutai_onnx.models import Word

REST = 3.0


@pytest.fixture
def talk(pcm: Array, words: list[Word], tmp_path: Path) -> Path:
    """A manifest of one recording: the sentence, a rest, and the sentence again."""
    write_wav(tmp_path / "talk.wav", np.concatenate([pcm, hiss(REST), pcm]))
    later = len(pcm) / 24000 + REST
    times = [(w.text, w.start + t, w.end + t) for t in (0.0, later) for w in words]
    entry = {
        "audio": "talk.wav",
        "text": " ".join(text for text, _, _ in times),
        "words": [{"text": text, "start": start, "end": end} for text, start, end in times],
    }
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(entry))
    return manifest


def figures(command: Command, *arguments: object) -> dict[str, float]:
    done = command("turns", "-q", "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    found: dict[str, float] = json.loads(done.out)
    return found


def test_the_demo_ends_its_turns(command: Command) -> None:
    found = figures(command)
    assert (found["turns"], found["missed"], found["early"]) == (3, 0, 0)
    assert 1.0 < found["median_delay"] < 1.5


def test_both_turns_of_a_talk_are_found(command: Command, talk: Path) -> None:
    found = figures(command, "--dataset", talk)
    assert (found["turns"], found["missed"], found["early"]) == (2, 0, 0)
    lines = command("turns", "-q", "--dataset", talk).out.splitlines()
    assert [line.split()[0] for line in lines] == ["turns", "missed", "early", "told"]


def test_a_pause_that_is_held_too_long_misses_the_first_turn(command: Command, talk: Path) -> None:
    found = figures(command, "--dataset", talk, "--turn-hold", REST + 1)
    assert found["missed"] == 2
    assert REST + 1 > AFTER_SECONDS
    shown = command("turns", "-q", "--dataset", talk, "--turn-hold", REST + 1, "--show").out
    assert shown.count("was missed") == 2


def test_a_turn_of_two_sentences_is_cut_in_between(command: Command, talk: Path) -> None:
    found = figures(command, "--dataset", talk, "--gap", REST + 2)
    assert (found["turns"], found["missed"], found["early"]) == (1, 0, 1)
    shown = command("turns", "-q", "--dataset", talk, "--gap", REST + 2, "--show").out
    assert "in the midst of a turn" in shown


def test_patience_costs_what_it_says(command: Command) -> None:
    quick, slow = (figures(command, "--turn-hold", hold)["median_delay"] for hold in (0.4, 1.4))
    assert slow - quick == pytest.approx(1.0, abs=0.1)


def test_words_that_are_not_there_are_waited_for(command: Command) -> None:
    assert figures(command, "--turn-min-words", 5)["missed"] == 0
    assert figures(command, "--turn-min-words", 50)["missed"] == 3


def test_without_word_times_those_of_the_model_count(
    command: Command, pcm: Array, tmp_path: Path
) -> None:
    write_wav(tmp_path / "a.wav", pcm)
    (tmp_path / "a.txt").write_text("something")
    found = figures(command, "--dataset", tmp_path)
    assert (found["turns"], found["missed"], found["early"]) == (1, 0, 0)


def test_pauses_need_their_heads(command: Command, tmp_path: Path) -> None:
    done = command("turns", "-q", "--model", without_heads(tmp_path / "bundle"))
    assert done.code == 2
    assert "--extra-heads" in done.error


@pytest.mark.parametrize(
    "wrong", [("--turn-horizon", 1.5), ("--turn-threshold", 2), ("--turn-hysteresis", 0.9)]
)
def test_a_policy_out_of_range_is_refused(command: Command, wrong: tuple[object, ...]) -> None:
    assert command("turns", "-q", *wrong).code == 2
    assert command("stream", "--input-file", "a.wav", "-q", *wrong).code == 2


def test_turns_are_words_with_a_rest_between() -> None:
    words = [Word("a", 1.0, 1.5), Word("b", 1.9, 2.2), Word("c", 5.0, 5.5)]
    assert turns_of(words, 2.0) == ((1.0, 5.0), (2.2, 5.5))
    assert turns_of(words, 0.1) == ((1.0, 1.9, 5.0), (1.5, 2.2, 5.5))
    assert turns_of([], 1.0) == ((), ())


def test_what_counts_as_told_missed_and_early() -> None:
    found = Replayed((1.0, 5.0, 9.0), (3.0, 7.0, 11.0), (2.0, 4.0, 12.5))
    assert [found.delay(turn) for turn in range(3)] == [1.0, None, 1.5]
    assert found.early == [2.0]
    tally = Tally()
    tally.add(found)
    assert tally.as_json() == {
        "turns": 3,
        "missed": 1,
        "early": 1,
        "median_delay": 1.25,
        "greatest_delay": 1.5,
    }
