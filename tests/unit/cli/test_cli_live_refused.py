"""What `stream` refuses, and how it says so: options that do not go together, missing devices."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import Command, Result
from support.speech import RATE
from support.threaded_card import BOX, MIC, Use, using

from kyutai_onnx.cli.live import live_audio
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.errors import AudioError


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    return using(monkeypatch)


def refused(command: Command, *arguments: object) -> Result:
    done = command("stream", "-q", *arguments)
    assert done.code == 2
    assert done.out == ""
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ("--input-file", "a.wav", "--input-device", "x"),
        ("--input-file", "a.wav", "--half-duplex"),
        ("--rate", 2),
        ("--output-device", "none", "--half-duplex"),
        ("--input-file", "a.wav", "--rate", 2, "--output-device", "x"),
        ("--output-device", "x"),
        ("--half-duplex",),
        ("--save-output", "x.wav"),
        ("--voice", "x"),
        ("--save-input", "-"),
        ("--model", DEMO / "tts", "--input-file", "a.txt", "--rate", 2),
        ("--model", DEMO / "tts", "--output-device", "none"),
        ("--model", DEMO / "tts", "--input-device", "x"),
        ("--model", DEMO / "tts", "--vad"),
        ("--model", DEMO / "tts", "--save-input", "x.wav"),
    ],
    ids=lambda arguments: " ".join(Path(str(a)).name for a in arguments),
)
def test_what_does_not_go_together_is_refused(
    use: Use, command: Command, arguments: tuple[object, ...]
) -> None:
    use(np.zeros(RATE, np.float32))
    assert any(str(a) in refused(command, *arguments).error for a in arguments if "--" in str(a))


def test_no_file_is_written_twice_or_over_the_recording(
    use: Use, command: Command, speech: Path, tmp_path: Path
) -> None:
    use(np.zeros(RATE, np.float32))
    out, source = tmp_path / "out.wav", tmp_path / "source.srt"
    source.write_bytes(speech.read_bytes())
    twice = ("--model", DEMO / "hibiki", "--save-output", out, "--save-input", out)
    assert refused(command, *twice).error.startswith(f"{out} is to be written ")
    over = ("--input-file", source, "--words", source)
    assert refused(command, *over).error.startswith(f"{source} is an input")


def test_words_that_grow_are_subtitles(use: Use, command: Command, speech: Path) -> None:
    words = ("--input-file", speech, "--words", "words.json")
    assert "live subtitles are .srt or .vtt" in refused(command, *words).error
    words = ("--model", DEMO / "hibiki", "--seed", 1, *words)
    assert "live subtitles are .srt or .vtt" in refused(command, *words).error


@pytest.mark.parametrize("name", ["stt", "hibiki"])
def test_a_device_that_is_missing_leaves_the_subtitles_of_before(
    use: Use, command: Command, tmp_path: Path, name: str
) -> None:
    use(np.empty(0, np.float32), BOX)
    words = tmp_path / "words.srt"
    words.write_text("before")
    done = command("stream", "--model", DEMO / name, "--seed", 1, "--words", words)
    assert done.code == 4
    assert "nothing was received" not in done.err
    assert words.read_text() == "before"


def test_turns_are_those_of_speech_to_text(use: Use, command: Command) -> None:
    assert (
        "--turn-policy"
        in refused(command, "--model", DEMO / "hibiki", "--turn-policy", "quick").error
    )


@pytest.mark.parametrize("line", ["flush = true", "watchdog = 5"])
def test_a_server_decides_what_its_model_does_at_the_end_of_a_turn(
    command: Command, tmp_path: Path, line: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(line)
    there = ("--server", "http://127.0.0.1:9", "--turn-policy", policy)
    assert line.partition(" ")[0] in refused(command, *there).error


def test_a_machine_without_a_microphone_says_so(use: Use, command: Command) -> None:
    use(np.empty(0, np.float32), BOX)
    done = command("stream", "-q")
    assert done.code == 4
    assert "no microphone" in done.error
    assert "--input-file" in done.error


def test_a_machine_without_a_speaker_says_so(
    use: Use, command: Command, speech: Path, tmp_path: Path
) -> None:
    use(np.empty(0, np.float32), MIC)
    given = ("stream", "--model", DEMO / "hibiki", "--input-file", speech, "--seed", 1)
    done = command(*given)
    assert done.code == 4
    assert "--output-device none" in done.error
    out = tmp_path / "out.wav"
    done = command(*given, "--save-output", out)
    assert done.code == 0
    assert f"the speech goes to {out} alone" in done.err
    assert soundfile.info(out).duration > 1
    assert command(*given, "--save-output", out, "--output-device", "box").code == 4


def test_without_sound_card_software_the_first_word_is_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AudioError("sounddevice is not installed; run this")

    monkeypatch.setattr(live_audio, "SoundCard", missing)
    done = command("stream", "-q")
    assert done.code == 4
    assert done.error.startswith("sounddevice is not installed")
