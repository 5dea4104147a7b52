"""`say` and `voices` on the command line, with a toy that speaks."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.commands import Command
from support.npz import arrays
from support.speaking import CODEBOOKS, SUFFIX, write_voice
from support.speech import hiss, write_wav

from kyutai_onnx.cli.main import run
from kyutai_onnx.models import TextToSpeech
from kyutai_onnx.models.resolve import VARIABLE

TEXT = "set an alarm for seven thirty today please"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.wav"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch):
    """Gives commands a standard input."""

    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def samples(path: Path) -> np.ndarray:
    pcm, rate = soundfile.read(path, dtype="float32")
    assert rate == 24000
    return pcm


def test_speech_is_that_of_the_model(command: Command, cloning: Path, out: Path) -> None:
    done = command("say", TEXT, "-o", out, "--model", cloning, "--seed", 1)
    assert (done.code, done.out, done.err) == (0, "", "")
    expected = TextToSpeech.load(cloning).speak(TEXT, seed=1)
    np.testing.assert_allclose(samples(out), expected.pcm, atol=2**-15)


def test_a_seed_is_reported_and_makes_speech_repeat(
    command: Command, cloning: Path, out: Path, tmp_path: Path
) -> None:
    done = command("say", TEXT, "-o", out, "--model", cloning)
    (line,) = done.err.splitlines()
    seed = int(line.removeprefix("seed "))
    again = tmp_path / "again.wav"
    command("say", TEXT, "-o", again, "--model", cloning, "--seed", seed)
    assert again.read_bytes() == out.read_bytes()
    greedy = command("say", TEXT, "-o", out, "--model", cloning, "--temp", 0)
    assert greedy.err == ""


def test_a_voice_is_picked_or_the_choice_is_reported(
    command: Command, embedded: Path, out: Path, tmp_path: Path
) -> None:
    made = set()
    for voice in ([], ["--voice", "anna.wav"], ["--voice", "bert.wav"]):
        done = command("say", TEXT, "-o", out, "--model", embedded, "--temp", 0, *voice)
        assert done.code == 0
        assert done.err == ("" if voice else "no --voice given: using anna.wav\n")
        made.add(out.read_bytes())
    assert len(made) == 2


def test_standard_output_is_a_wav_or_samples_alone(
    cloning: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = ["say", TEXT, "--model", str(cloning), "--temp", "0"]
    assert run(arguments) == 0
    wav = capsysbinary.readouterr().out
    assert run([*arguments, "--raw", "-o", "-"]) == 0
    raw = capsysbinary.readouterr().out
    assert wav[:4] == b"RIFF"
    assert wav[44:] == raw
    expected = TextToSpeech.load(cloning).speak(TEXT, temperature=0.0).pcm
    assert len(raw) == 2 * len(expected)


@pytest.mark.parametrize("ending", [".flac", ".ogg"])
def test_other_files_of_sound(command: Command, cloning: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    assert command("say", "seven", "-o", path, "--model", cloning, "-q").code == 0
    assert len(samples(path)) > 0


@pytest.mark.parametrize("content", [TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode() + b"\r\n"])
def test_standard_input_is_said(
    command: Command, cloning: Path, out: Path, tmp_path: Path, piped, content: bytes
) -> None:
    piped(content)
    assert command("say", "-", "-o", out, "--model", cloning, "--temp", 0).code == 0
    command("say", TEXT, "-o", tmp_path / "same.wav", "--model", cloning, "--temp", 0)
    assert out.read_bytes() == (tmp_path / "same.wav").read_bytes()


def test_characters_that_no_model_spells_are_left_out_with_a_note(
    command: Command, cloning: Path, out: Path, piped
) -> None:
    piped(("".join(map(chr, range(1, 256))) + " one").encode())
    as_is = ("--temp", 0, "--text", "as-is")
    done = command("say", "-", "-o", out, "--model", cloning, *as_is)
    assert done.code == 0
    assert "cannot spell all of" in done.err


def test_words_are_written_beside(command: Command, cloning: Path, tmp_path: Path) -> None:
    kinds = {}
    for ending in ("srt", "vtt", "json"):
        path = tmp_path / f"words.{ending}"
        arguments = ("--words", path, "--model", cloning, "--temp", 0)
        assert command("say", TEXT, "-o", tmp_path / "x.wav", *arguments).code == 0
        kinds[ending] = path.read_text()
    content = json.loads(kinds["json"])
    assert [word["text"] for word in content["words"]] == TEXT.split()
    assert content["duration"] == pytest.approx(len(samples(tmp_path / "x.wav")) / 24000)
    assert kinds["srt"].startswith("1\n00:00:0")
    assert kinds["vtt"].startswith("WEBVTT")


def test_tokens_are_dumped(command: Command, cloning: Path, out: Path, tmp_path: Path) -> None:
    dump = tmp_path / "tokens.npz"
    command("say", TEXT, "-o", out, "--model", cloning, "--temp", 0, "--dump-tokens", dump)
    speech = TextToSpeech.load(cloning).speak(TEXT, temperature=0.0)
    np.testing.assert_array_equal(arrays(dump)["text"], speech.text_tokens)
    np.testing.assert_array_equal(arrays(dump)["audio"], speech.audio_tokens)
    assert arrays(dump)["codes"].size == 0


def test_fewer_codebooks(command: Command, cloning: Path, out: Path, tmp_path: Path) -> None:
    dump = tmp_path / "tokens.npz"
    arguments = ("--codebooks", 2, "--dump-tokens", dump)
    assert command("say", TEXT, "-o", out, "--model", cloning, "-q", *arguments).code == 0
    assert len(arrays(dump)["audio"]) == 2


def test_lines_are_turns_of_two_speakers(
    command: Command, embedded: Path, out: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "tokens.npz"
    voices = ("--voice", "anna.wav", "--voice", "bert.wav", "--temp", 0)
    arguments = ("-o", out, "--model", embedded, "--dump-tokens", dump, *voices)
    assert command("say", "one two\nthree four", "--turns", *arguments).code == 0
    voiced = [str(embedded / "voices" / f"{name}.wav{SUFFIX}") for name in ("anna", "bert")]
    model = TextToSpeech.load(embedded)
    expected = model.speak(["one two", "three four"], voiced, temperature=0.0)
    np.testing.assert_array_equal(arrays(dump)["text"], expected.text_tokens)


def test_a_voice_is_kept_ready(command: Command, cloning: Path, out: Path, tmp_path: Path) -> None:
    voice, kept = write_wav(tmp_path / "me.wav", 20 * hiss(0.5)), tmp_path / "kept.npz"
    options = ("--model", cloning, "--temp", 0)
    done = command("say", "--voice", voice, "--save-voice", kept, *options)
    assert (done.code, done.out, done.err) == (0, "", "")
    command("say", TEXT, "-o", out, "--voice", kept, *options)
    command("say", TEXT, "-o", tmp_path / "same.wav", "--voice", voice, *options)
    assert out.read_bytes() == (tmp_path / "same.wav").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "nothing to say"),
        (("",), "nothing to say"),
        ((" \n ",), "nothing to say"),
        (("hi", "--codebooks", "many"), "number, or all"),
        (("hi", "--codebooks", "9"), f"1 to {CODEBOOKS}"),
        (("hi", "--cfg-coef", "1.7"), "1.0, 1.5, 2.0"),
        (("hi", "--words", "words.doc"), "names no format"),
        (("hi", "--padding-bonus", "nan"), "padding_bonus"),
        (("hi", "--jsonl", "x"), "exclude each other"),
        (("--jsonl", "x", "--turns"), "single text"),
        (("hi", "--voice", "ana.wav"), "did you mean anna.wav"),
        (("hi", *("--voice", "anna.wav") * 3), "2 at most"),
        (("hi", "--voice", "nowhere.npz"), "no such file"),
    ],
)
def test_what_cannot_be_said_is_refused_before_a_file_is_touched(
    command: Command, embedded: Path, out: Path, arguments: tuple[str, ...], cause: str
) -> None:
    done = command("say", *arguments, "-o", out, "--model", embedded, "-q")
    assert done.code in (2, 3)
    assert cause in done.error
    assert not out.exists()


def test_punctuation_alone_is_nothing_to_say(command: Command, cloning: Path, out: Path) -> None:
    done = command("say", "(:)", "-o", out, "--model", cloning, "-q")
    assert done.code == 2
    assert "nothing to say" in done.error
    assert not out.exists()


def test_a_voice_that_does_not_fit_is_refused(
    command: Command, embedded: Path, cloning: Path, out: Path, tmp_path: Path
) -> None:
    recording = write_wav(tmp_path / "me.wav", hiss(1.0))
    vectors = write_voice(tmp_path / "me.safetensors", shape=(1, 3, 3))
    cases = [
        (embedded, recording, 2, "cannot clone"),
        (embedded, vectors, 3, "expected"),
        (cloning, vectors, 2, "from a recording"),
        (cloning, write_wav(tmp_path / "short.wav", hiss(0.1)), 2, "too short"),
    ]
    for model, voice, code, cause in cases:
        done = command("say", "hi", "-o", out, "--model", model, "--voice", voice, "-q")
        assert done.code == code
        assert cause in done.error
        assert not out.exists()


def test_without_a_model_the_demo_speaks_and_says_so(command: Command, tmp_path: Path) -> None:
    done = command("say", "seven", "-o", tmp_path / "seven.wav", "--seed", "1")
    assert done.code == 0
    assert "embedded demo" in done.err
    assert soundfile.info(tmp_path / "seven.wav").duration > 0.3


def test_voices_are_listed(command: Command, embedded: Path, cloning: Path) -> None:
    done = command("voices", "list", "--model", embedded)
    assert done.code == 0
    assert done.out == "anna.wav\tbundle\nbert.wav\tbundle\n"
    assert done.err.startswith("note: ")
    done = command("voices", "list", "--offline", "--model", cloning)
    assert (done.code, done.out) == (0, "")
    assert "no voices" in done.err


def test_voices_of_a_model_that_does_not_speak(command: Command) -> None:
    from kyutai_onnx.models.resolve import DEMO

    done = command("voices", "list", "--model", DEMO / "stt")
    assert done.code == 3
    assert "tts (" in done.error


def test_the_environment_names_the_model(
    command: Command, cloning: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(cloning))
    assert command("say", "one", "-o", out, "-q").code == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_a_pipe_may_have_a_byte_order_mark(
    command: Command, out: Path, piped, encoding: str
) -> None:
    piped("set an alarm for 7:30".encode(encoding))
    words = out.with_suffix(".json")
    assert command("say", "-", "-o", out, "--words", words, "--seed", 1, "--quiet").code == 0
    said = " ".join(word["text"] for word in json.loads(words.read_text())["words"])
    assert said == "set an alarm for seven thirty"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("way", ["say", "list", "option", "stream", "evaluate"])
def test_text_in_another_encoding_is_an_error(
    command: Command, speech: Path, out: Path, tmp_path: Path, piped, encoding: str, way: str
) -> None:
    file, content = tmp_path / "text.jsonl", '{"text": "set an alarm, René"}'.encode(encoding)
    file.write_bytes(content)
    piped(content)
    ways: dict[str, tuple[object, ...]] = {
        "say": ("say", "-", "-o", out, "--seed", 1),
        "list": ("say", "--jsonl", file, "-o", f"{tmp_path}/made/"),
        "option": ("transcribe", speech, "--hotwords", f"@{file}"),
        "stream": ("stream", "--model", "demo/tts", "--input-file", file, "--save-output", out),
        "evaluate": ("evaluate", file),
    }
    done = command(*ways[way])
    assert (done.code, done.out) == (2, "")
    assert "UTF-8" in done.err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("text", ["<speak>seven <break/>", "\N{GRINNING FACE}"])
def test_a_text_that_cannot_be_spoken_has_no_seed(command: Command, out: Path, text: str) -> None:
    done = command("say", text, "-o", out)
    assert done.code == 2
    assert "seed" not in done.err


def test_what_is_left_out_of_a_text_is_noted(command: Command, out: Path) -> None:
    text = "<prosody rate='slow'>seven</prosody> 漢字 **thirty** \N{GRINNING FACE}"
    done = command("say", text, "-o", out, "--seed", 1)
    assert done.code == 0
    assert "prosody" in done.err
    assert "漢字" in done.err
    assert "\N{GRINNING FACE}" not in done.err


def test_a_script_is_spoken_as_it_is(command: Command, out: Path) -> None:
    done = command("say", "seven **thirty**", "-o", out, "--text", "as-is")
    assert done.code == 0
    assert "**thirty**" in done.err
