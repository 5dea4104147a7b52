"""`stream` with a microphone and a speaker that are threads of the test, quicker than real ones."""

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.commands import Command, command_line
from support.speech import RATE, Array, hiss, whole, write_wav
from support.threaded_card import BLOCK, BOX, ThreadedCard, Use, using
from support.waiting import PATIENCE_SECONDS

from kyutai_onnx.models import Word
from kyutai_onnx.models.resolve import DEMO

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def check_played(card: ThreadedCard, said: Array) -> None:
    """The speaker played all that was said, and nothing else; only silence may lie between."""
    played = np.concatenate(card.played)
    played = played[played != 0]
    assert len(played) == len(said)
    assert np.abs(played - said).max() < 1e-3


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    return using(monkeypatch)


@pytest.fixture
def text(words: list[Word]) -> str:
    return " ".join(word.text for word in words) + "\n"


def test_a_microphone_is_transcribed_until_it_is_interrupted(
    use: Use, command: Command, pcm: Array, text: str, tmp_path: Path
) -> None:
    use(np.concatenate([hiss(0.5), pcm]))
    saved, subtitles = tmp_path / "heard.wav", tmp_path / "words.vtt"
    done = command("stream", "--save-input", saved, "--words", subtitles)
    assert (done.code, done.out) == (130, text)
    _, figures, latency = done.err.splitlines()
    assert re.fullmatch(
        r"received \d+\.\d s, real-time factor \d+\.\d\d, lag \d+\.\d\d s \(at most \d+\.\d\d\), "
        r"dropped 0\.0 s",
        figures,
    )
    assert latency.startswith("latency: sound to word ")
    assert len(whole(saved)) == pytest.approx(len(pcm) + RATE / 2, abs=2)
    assert command("transcribe", saved, "-q").out == text
    assert subtitles.read_text().startswith("WEBVTT\n\n00:00:00.")
    assert " ".join(subtitles.read_text().split("\n")[3:]).split() == text.split()


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_request_to_end_counts_as_an_interrupt(
    use: Use, command: Command, pcm: Array, text: str, tmp_path: Path, name: str
) -> None:
    number = signal.Signals[name]
    card, saved = use(pcm), tmp_path / "heard.wav"
    card.signal = number
    outside = signal.signal(number, signal.SIG_DFL)  # nohup has the one ignored
    try:
        done = command("stream", "-q", "--save-input", saved)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    assert (done.code, done.out, done.err) == (130, text, "")
    assert len(whole(saved)) == pytest.approx(len(pcm), abs=2)


def test_events_are_lines_of_json_with_statistics(use: Use, command: Command, pcm: Array) -> None:
    use(np.concatenate([pcm, hiss(2)]))
    done = command("stream", "-f", "jsonl", "-q")
    kinds = [json.loads(line)["type"] for line in done.out.splitlines()]
    assert kinds[0] in ("word", "speech_started")
    assert {"word", "speech_started", "pause", "end_of_turn", "statistics"} == set(kinds)
    figures = json.loads(done.out.splitlines()[-1])
    assert figures["received"] == pytest.approx((len(pcm) + 2 * RATE) / RATE, abs=0.1)
    assert figures["sound_to_word"] > 0


def test_the_last_words_of_a_turn_come_with_its_end(
    use: Use, command: Command, pcm: Array, words: list[Word], tmp_path: Path
) -> None:
    use(np.concatenate([pcm, hiss(2)]))
    policy = tmp_path / "policy.toml"
    policy.write_text("hold = 0\nthreshold = 0.3\nflush = true\n")
    out = command("stream", "-f", "jsonl", "--turn-policy", policy, "-q").out
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["type"] for event in events]
    reported = [event["text"] for event in events if event["type"] == "word"]
    assert reported == [word.text for word in words]
    assert kinds[kinds.index("end_of_turn") + 1] == "word"


def test_hibiki_is_transcribed_from_the_speaker(
    use: Use, command: Command, pcm: Array, tmp_path: Path
) -> None:
    card, saved = use(pcm), tmp_path / "said.wav"
    done = command(
        *("stream", "--model", DEMO / "hibiki", "--seed", 1, "--save-output", saved),
        *("--input-device", "desk", "--output-device", "LOUD"),
    )
    assert done.code == 130
    assert "sound to sound" in done.err
    said, rate = soundfile.read(saved, dtype="float32")
    assert rate == RATE
    check_played(card, said)


@pytest.mark.parametrize("name", ["stt", "hibiki"])
def test_an_interrupt_before_a_frame_was_received(use: Use, command: Command, name: str) -> None:
    use(np.zeros(BLOCK, np.float32))
    done = command("stream", "--model", DEMO / name, "--seed", 1, "-q")
    assert (done.code, done.out, done.err) == (130, "\n", "")


def test_a_recording_is_spoken_without_a_microphone(
    use: Use, command: Command, pcm: Array, tmp_path: Path
) -> None:
    use(pcm, BOX)
    source, saved = write_wav(tmp_path / "in.wav", pcm[: 2 * RATE]), tmp_path / "said.wav"
    given = ("stream", "--model", DEMO / "hibiki", "--input-file", source, "--save-output", saved)
    done = command(*given, "--seed", 1)
    assert done.code == 0
    assert "played" in done.err
    assert soundfile.info(saved).duration > 1


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stdin)

    return give


def test_standard_input_is_said_aloud(
    use: Use, command: Command, typed: Callable[[bytes], None], tmp_path: Path
) -> None:
    card, saved = use(np.empty(0, np.float32)), tmp_path / "said.wav"
    typed(b"the train to boston leaves at nine fifty")
    given = ("stream", "--model", DEMO / "tts", "--seed", 1, "-f", "jsonl")
    done = command(*given, "--save-output", saved)
    assert done.code == 0
    figures = json.loads(done.out)
    assert "received" not in figures
    assert figures["text_to_sound"] > 0
    latency = done.err.splitlines()[-1]
    assert re.fullmatch(r"latency: text to sound \d+\.\d\d s \(at most \d+\.\d\d\)", latency)
    said, _ = soundfile.read(saved, dtype="float32")
    assert len(said) / RATE > 1.5
    check_played(card, said)


@pytest.mark.parametrize("writes", [True, False])
def test_say_plays_while_it_speaks(
    use: Use, command: Command, tmp_path: Path, writes: bool
) -> None:
    card, saved, expected = use(np.empty(0, np.float32)), tmp_path / "a.wav", tmp_path / "b.wav"
    given = ("say", "the train to boston", "--model", DEMO / "tts", "--seed", 1)
    assert command(*given, "-o", expected).code == 0
    assert not card.played
    done = command(*given, "--play", *(("-o", saved) if writes else ()))
    assert (done.code, done.out) == (0, "")
    assert "played" in done.err
    check_played(card, whole(expected))
    assert saved.exists() == writes
    if writes:
        assert saved.read_bytes() == expected.read_bytes()


def test_say_plays_text_that_is_still_arriving(
    use: Use, command: Command, typed: Callable[[bytes], None]
) -> None:
    card = use(np.empty(0, np.float32))
    typed(b"the train to boston")
    done = command("say", "-", "--play", "--output-device", "box", "--model", DEMO / "tts", "-q")
    assert (done.code, done.err) == (0, "")
    assert np.count_nonzero(np.concatenate(card.played)) > RATE / 2


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (("seven", "--output-device", "box"), "--play"),
        (("seven", "--play", "--output-device", "none"), "none"),
        (("--play", "--jsonl", "x.jsonl"), "--play"),
        (("--play", "--save-voice", "x.npz"), "--play"),
    ],
)
def test_what_say_does_not_play(
    use: Use, command: Command, given: tuple[str, ...], key: str
) -> None:
    use(np.empty(0, np.float32))
    done = command("say", *given, "--model", "nowhere", "-q")
    assert (done.code, key in done.error) == (2, True)


def test_typed_lines_are_said_one_by_one(
    use: Use, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = use(np.empty(0, np.float32))
    lines = iter([b"the train to boston\n", b"\n", b"...\n", b"(:)\n", b"at nine fifty\n", b""])
    stdin = SimpleNamespace(
        buffer=SimpleNamespace(read1=lambda _: next(lines)), isatty=lambda: True
    )
    monkeypatch.setattr("sys.stdin", stdin)
    done = command("stream", "--model", DEMO / "tts", "--seed", 1)
    assert done.code == 0
    assert "type a line" in done.err
    assert done.err.count("nothing to say") == 2
    assert "error: " in done.err
    played = np.concatenate(card.played)
    assert 1.0 < np.count_nonzero(played) / RATE < 10
    assert command("stream", "--model", DEMO / "tts", "--words", "a.srt").code == 2


def test_a_text_that_cannot_be_read_is_reported(use: Use, command: Command) -> None:
    use(np.empty(0, np.float32))
    done = command("stream", "--model", DEMO / "tts", "--input-file", "nowhere.txt", "-q")
    assert done.code == 1
    assert "nowhere.txt" in done.error


def test_sound_on_standard_output_has_it_alone(speech: Path) -> None:
    given = ("--input-file", speech, "--rate", 50, "--save-output", "-", "-f", "jsonl")
    with subprocess.Popen(
        command_line("stream", "--model", DEMO / "hibiki", "--seed", 1, *given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert b'"type"' not in out
    kinds = [json.loads(line)["type"] for line in err.splitlines() if line.startswith(b"{")]
    assert {"word", "statistics"} <= set(kinds)


def test_what_is_said_without_a_speaker_is_counted(
    command: Command, typed: Callable[[bytes], None], tmp_path: Path
) -> None:
    typed(b"the train to boston")
    out = tmp_path / "out.wav"
    done = command(
        *("stream", "--model", DEMO / "tts", "--seed", 1, "--output-device", "none"),
        *("--save-output", out),
    )
    assert done.code == 0
    assert done.err == f"said {soundfile.info(out).duration:.1f} s\n"
