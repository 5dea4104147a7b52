"""`translate` and `chat`: sound to a file, text to standard output, and what can go wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.commands import Command
from support.npz import arrays
from support.scripted_models import (
    BOUNDARY,
    CARD,
    END,
    ONE,
    PADDING,
    PLURAL,
    RATE,
    SIZE,
    TWO,
    Script,
    ends_after,
    hibiki,
    moshi,
    ramp,
    tokens,
)
from support.speech import write_wav

from kyutai_onnx.cli import translation
from kyutai_onnx.cli.main import run
from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.families import HIBIKI, Family
from kyutai_onnx.models.resolve import DEMO, VARIABLE
from kyutai_onnx.models.speech_to_speech.model import SpeechModel

Use = Callable[[Script], None]
SAYS = tokens(PADDING, BOUNDARY, ONE, PLURAL, *[PADDING] * 8, BOUNDARY, TWO, PADDING, PADDING, END)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes the commands follow a script instead of a bundle."""

    def use(script: Script) -> None:
        def load(family: Family, *_: object, **__: object) -> SpeechModel:
            return hibiki(script) if family is HIBIKI else moshi(script)

        monkeypatch.setattr(translation, "load", load)

    return use


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "source.wav", ramp(10))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.wav"


def frames_of(path: Path) -> int:
    return soundfile.info(path).frames // SIZE


def test_text_goes_to_stdout_and_speech_to_the_file(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(SAYS)
    done = command("translate", source, out)
    assert (done.code, done.out, done.err) == (0, "ones two\n", "")
    made, rate = soundfile.read(out)
    assert rate == RATE
    assert len(made) == 17 * SIZE
    np.testing.assert_allclose(made[::SIZE], np.arange(1, 18) / CARD, atol=1e-4)


def test_moshi_answers_as_long_as_it_listens(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(SAYS)
    assert command("chat", source, out).out == "ones\n"
    assert frames_of(out) == 10


def test_words_are_written_with_their_times(
    use: Use, command: Command, source: Path, out: Path, tmp_path: Path
) -> None:
    use(SAYS)
    srt, words = tmp_path / "subtitles", tmp_path / "words.json"
    command("translate", source, out, "--srt", srt, "--words", words)
    assert "00:00:00,160 --> 00:00:01,360\nones two" in srt.read_text()
    content = json.loads(words.read_text())
    assert content["words"][0] == {"text": "ones", "start": 0.16, "end": 0.96}
    assert content["duration"] == 1.36


def test_tokens_are_dumped(use: Use, command: Command, source: Path, out: Path) -> None:
    use(SAYS)
    command("translate", source, out, "--dump-tokens", out.with_suffix(".npz"))
    dumped = arrays(out.with_suffix(".npz"))
    assert dumped["text"].tolist()[:3] == [PADDING, BOUNDARY, ONE]
    assert dumped["audio"].shape == (2, 17)
    assert dumped["codes"][0].tolist() == [*range(1, 11), CARD, *[0] * 6]


def test_the_sound_on_stdout_sends_the_text_to_stderr(
    use: Use, source: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:

    use(SAYS)
    assert run(["translate", str(source), "-"]) == 0
    captured = capsysbinary.readouterr()
    assert captured.out[:4] == b"RIFF"
    assert len(captured.out) == 44 + 2 * 17 * SIZE
    assert captured.err == b"ones two\n"


def test_a_translation_that_does_not_end_is_cut_and_that_is_said(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(tokens(ONE))
    done = command("translate", source, out, "--max-tail", 1)
    assert (done.code, done.out) == (0, "one\n")
    assert "--max-tail" in done.err
    assert frames_of(out) == 10 + 1 + 13
    assert command("translate", source, out, "-q", "--max-tail", 1).err == ""


def test_a_state_goes_on_in_another_run(
    use: Use, command: Command, source: Path, out: Path, tmp_path: Path
) -> None:
    use(SAYS)
    state = tmp_path / "state.npz"
    assert command("chat", source, out, "--save-state", state).out == "ones\n"
    words = tmp_path / "words.tsv"
    rest = command("chat", source, out, "--load-state", state, "--words", words)
    assert rest.out == "two\n"
    assert frames_of(out) == 10
    assert words.read_text().splitlines()[1:] == ["0\t160\tones", "240\t800\ttwo"]
    refused = command("chat", source, out, "--load-state", state, "--temp", 1)
    assert refused.code == 2
    assert "--temp comes with the stream" in refused.error


def test_a_seed_is_reported_where_tokens_are_drawn(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(SAYS)
    reported = command("chat", source, out, "--temp", 1).err
    seed = re.fullmatch(r"seed (\d+)\n", reported)
    assert seed is not None
    first = out.read_bytes()
    again = command("chat", source, out, "--temp", 1, "--seed", seed[1])
    assert again.err == ""
    assert out.read_bytes() == first


def test_a_damaged_recording_is_translated_as_far_as_it_goes(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(SAYS)
    pcm = ramp(10)
    pcm[-SIZE:] = np.nan
    write_wav(source, pcm, subtype="FLOAT")
    done = command("translate", source, out)
    assert (done.code, done.out) == (4, "ones two\n")
    assert "NaN" in done.error
    assert frames_of(out) == 17


def test_silence_is_translated_to_whatever_the_model_says_of_it(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(ends_after(2))
    write_wav(source, np.zeros(10 * SIZE))
    done = command("translate", source, out)
    assert (done.code, done.out, done.err) == (0, "\n", "")
    assert frames_of(out) > 10


def test_a_recording_without_a_frame_is_an_error(
    use: Use, command: Command, source: Path, out: Path
) -> None:
    use(SAYS)
    write_wav(source, ramp(1)[1:])
    for name in ("translate", "chat"):
        done = command(name, source, out)
        assert (done.code, done.out) == (4, "\n")
        assert "80 ms" in done.error
        assert not out.exists()


def test_an_interrupt_keeps_what_was_said(
    use: Use, command: Command, source: Path, out: Path, tmp_path: Path
) -> None:
    def script(step: int, read: Any) -> int:
        if step == 9:
            raise KeyboardInterrupt
        return SAYS(step, read)

    use(script)
    words = tmp_path / "words.tsv"
    done = command("translate", source, out, "--words", words)
    assert (done.code, done.out) == (130, "ones\n")
    assert done.err == "interrupted after 0.6 s of speech\n"
    assert frames_of(out) == 8
    assert words.read_text().splitlines()[1] == "160\t640\tones"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.wav", "OUT"), 4, "nowhere.wav"),
        (("IN", "nowhere/out.wav"), 4, "no folder"),
        (("IN", "out.pdf"), 4, "names no audio format"),
        (("IN", "IN"), 2, "is an input"),
        (("IN", "OUT", "--words", "words.doc"), 2, ".srt"),
        (("IN", "OUT", "--words", "words"), 2, "no ending"),
        (("IN", "OUT", "--cfg-coef", "3"), 2, "no description"),
        (("IN", "OUT", "--cfg-coef", "nan"), 2, "cfg_coef nan"),
        (("IN", "OUT", "--load-state", "nowhere.npz"), 3, "not a saved stream"),
        (("IN", "OUT", "--channel", "1"), 2, "there is no channel 1"),
    ],
)
def test_what_cannot_be_is_one_line(
    use: Use,
    command: Command,
    source: Path,
    out: Path,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    use(SAYS)
    given = [{"IN": source, "OUT": out}.get(argument, argument) for argument in arguments]
    before = source.read_bytes()
    done = command("translate", *given)
    assert done.code == code
    assert said in done.error
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["translate", "chat"])
def test_another_family_is_refused(command: Command, source: Path, out: Path, name: str) -> None:
    done = command(name, source, out, "--model", DEMO / "stt")
    assert done.code == 3
    assert "(speech to text)" in done.error
    assert not out.exists()


def test_without_a_model_it_is_said_how_to_get_one(
    command: Command, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if (DEMO / "moshi").exists():
        pytest.skip("there is a demo")
    done = command("chat", source, out)
    assert done.code == 3
    assert "--model kyutai/" in done.error


def test_live_speech_to_text_goes_on_from_a_state(
    command: Command, speech: Path, pcm: Any, tmp_path: Path, model: SpeechToText
) -> None:
    halves = np.split(pcm, [len(pcm) // 2])
    first, second = (write_wav(tmp_path / f"{i}.wav", half) for i, half in enumerate(halves))
    state = tmp_path / "state.npz"
    fast = ("--rate", 100, "-q")
    assert command("stream", "--input-file", first, "--save-state", state, *fast).code == 0
    rest = command("stream", "--input-file", second, "--load-state", state, *fast).out.split()
    whole = command("stream", "--input-file", speech, *fast).out.split()
    assert rest
    assert whole[-len(rest) :] == rest


@pytest.mark.parametrize(("option", "value"), [("--save-output", "out.wav"), ("--cfg-coef", 3)])
def test_live_speech_to_text_has_nothing_to_speak_with(
    command: Command, speech: Path, option: str, value: object
) -> None:
    done = command("stream", "--input-file", speech, "-q", option, value)
    assert done.code == 2
    assert option in done.error
