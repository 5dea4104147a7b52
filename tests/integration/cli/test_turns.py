"""When a turn ends: policies as the command line names them, and what each misses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.bundles import without_heads
from support.commands import Command
from support.speech import Array, hiss, write_wav

from benchmarks.turns import AFTER_SECONDS, Replayed, Tally, main, turns_of
from kyutai_onnx.cli.live.turn_policy import PRESETS, LivePolicy, turn_policy
from kyutai_onnx.models import TurnPolicy, Word
from kyutai_onnx.runtime.errors import UsageError

REST = 3.0
Figures = Callable[..., dict[str, float]]


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


def policy(path: Path, **fields: float) -> Path:
    path.write_text("".join(f"{name} = {value}\n" for name, value in fields.items()))
    return path


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, float]]:
    def run(*arguments: object) -> dict[str, float]:
        capsys.readouterr()
        main(["--json", *map(str, arguments)])
        found: dict[str, float] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_the_demo_ends_its_turns(figures: Figures) -> None:
    found = figures()
    assert (found["turns"], found["missed"], found["early"]) == (3, 0, 0)
    assert 1.0 < found["median_delay"] < 1.5


def test_both_turns_of_a_talk_are_found(
    figures: Figures, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures("--dataset", talk)
    assert (found["turns"], found["missed"], found["early"]) == (2, 0, 0)
    main(["--dataset", str(talk)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["turns", "missed", "early", "reported"]


def test_a_pause_that_is_held_too_long_misses_the_first_turn(
    figures: Figures, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = policy(tmp_path / "slow.toml", hold=REST + 1)
    assert figures("--dataset", talk, "--policy", slow)["missed"] == 2
    assert REST + 1 > AFTER_SECONDS
    main(["--dataset", str(talk), "--policy", str(slow), "--show"])
    assert capsys.readouterr().out.count("was missed") == 2


def test_a_turn_of_two_sentences_is_cut_in_between(
    figures: Figures, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures("--dataset", talk, "--gap", REST + 2)
    assert (found["turns"], found["missed"], found["early"]) == (1, 0, 1)
    main(["--dataset", str(talk), "--gap", str(REST + 2), "--show"])
    assert "within" in capsys.readouterr().out


def test_patience_costs_what_it_says(figures: Figures) -> None:
    quick, slow = (figures("--policy", name)["median_delay"] for name in ("quick", "patient"))
    difference = PRESETS["patient"].turns.hold - PRESETS["quick"].turns.hold
    assert slow - quick == pytest.approx(difference, abs=0.1)


def test_words_that_are_not_there_are_waited_for(figures: Figures, tmp_path: Path) -> None:
    for words, missed in ((5, 0), (50, 3)):
        path = policy(tmp_path / "words.toml", min_words=words)
        assert figures("--policy", path)["missed"] == missed


def test_without_word_times_those_of_the_model_count(
    figures: Figures, pcm: Array, tmp_path: Path
) -> None:
    write_wav(tmp_path / "a.wav", pcm)
    (tmp_path / "a.txt").write_text("something")
    found = figures("--dataset", tmp_path)
    assert (found["turns"], found["missed"], found["early"]) == (1, 0, 0)


def test_pauses_need_their_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(without_heads(tmp_path / "bundle"))])
    assert "--extra-heads" in capsys.readouterr().err


def test_a_policy_is_a_preset_or_a_file(tmp_path: Path) -> None:
    assert turn_policy("default") == LivePolicy(TurnPolicy())
    given = policy(tmp_path / "a.toml", horizon=1, threshold=0.3, min_words=2)
    wanted = TurnPolicy(horizon=1.0, threshold=0.3, min_words=2)
    assert turn_policy(str(given)) == LivePolicy(wanted)


def test_a_file_says_what_happens_at_the_end_of_a_turn(tmp_path: Path) -> None:
    given = tmp_path / "a.toml"
    given.write_text("hold = 0.5\nflush = true\nwatchdog = 0\n")
    assert turn_policy(str(given)) == LivePolicy(TurnPolicy(hold=0.5), flush=True, watchdog=0.0)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("horizon = 1.5", "no head"),
        ("threshold = 2", "threshold"),
        ("hysteresis = 0.9", "hysteresis"),
        ("hold = -1", "0 or more"),
        ('hold = "long"', "hold"),
        ("patience = 1", "patience"),
        ("turns = 1", "turns"),
        ("watchdog = -1", "watchdog"),
        ("flush = 1", "flush"),
        ("hold", "TOML"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    command: Command, text: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(text)
    done = command("stream", "--input-file", "a.wav", "--turn-policy", tmp_path / "a.toml")
    assert done.code == 2
    assert "a.toml" in done.error
    assert cause in done.error


def test_a_policy_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="quick, default, patient"):
        turn_policy("hasty")


def test_turns_are_words_with_a_rest_between() -> None:
    words = [Word("a", 1.0, 1.5), Word("b", 1.9, 2.2), Word("c", 5.0, 5.5)]
    assert turns_of(words, 2.0) == ((1.0, 5.0), (2.2, 5.5))
    assert turns_of(words, 0.1) == ((1.0, 1.9, 5.0), (1.5, 2.2, 5.5))
    assert turns_of([], 1.0) == ((), ())


def test_what_counts_as_reported_missed_and_early() -> None:
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
