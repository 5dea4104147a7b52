"""Audio that is odd is transcribed; broken audio is reported in one line, after the words."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import Command
from support.npz import arrays
from support.speech import Array, hiss, write_wav


def empty(path: Path, _: Array) -> str:
    path.touch()
    return "is empty"


def without_samples(path: Path, pcm: Array) -> str:
    write_wav(path, pcm[:0])
    return "no samples"


def text_file(path: Path, _: Array) -> str:
    path.write_text("Dear diary, nothing was recorded today.\n" * 40)
    return "not audio"


def missing(_: Path, __: Array) -> str:
    return "no such file"


def folder(path: Path, _: Array) -> str:
    path.mkdir()
    return "is a folder"


def nothing_but_nan(path: Path, pcm: Array) -> str:
    write_wav(path, np.full_like(pcm, np.nan), subtype="FLOAT")
    return "NaN"


WAYS = {
    "transcribe": ("transcribe", "AUDIO"),
    "stream": ("stream", "--rate", 100, "--input-file", "AUDIO"),
    "codec": ("codec", "encode", "AUDIO", "made.npz"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "make", [empty, without_samples, text_file, missing, folder, nothing_but_nan]
)
def test_what_holds_no_sound_is_an_audio_error(
    command: Command, tmp_path: Path, pcm: Array, make, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "audio.wav"
    cause = make(path, pcm)
    done = command(*(path if part == "AUDIO" else part for part in WAYS[way]), "-q")
    assert done.code == 4
    assert done.out.strip() == ""
    assert str(path) in done.error
    assert cause in done.error
    assert not (tmp_path / "made.npz").exists()


@pytest.mark.parametrize("way", WAYS)
def test_one_sample_is_enough(
    command: Command, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_wav(tmp_path / "one.wav", np.full(1, 0.5))
    done = command(*(path if part == "AUDIO" else part for part in WAYS[way]), "-q")
    assert (done.code, done.err) == (0, "")
    if way == "codec":
        made = arrays(tmp_path / "made.npz")
        assert (made["codes"].shape[1], made["samples"]) == (1, 1)


def test_a_high_rate_is_brought_down(
    command: Command, tmp_path: Path, pcm: Array, text: str
) -> None:
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    high = np.fft.irfft(np.pad(spectrum, (0, 7 * len(pcm) // 2)), 8 * len(pcm)) * 8
    path = write_wav(tmp_path / "high.wav", high, 192_000, "FLOAT")
    assert command("transcribe", path).out == text + "\n"


def test_many_channels_are_reported_as_one(
    command: Command, tmp_path: Path, pcm: Array, text: str
) -> None:
    path = write_wav(tmp_path / "eight.wav", np.stack([pcm] * 8, axis=1))
    assert command("transcribe", path).out == text + "\n"


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_samples_that_are_too_loud_are_transcribed(
    command: Command, tmp_path: Path, pcm: Array, subtype: str
) -> None:
    path = write_wav(tmp_path / "loud.wav", pcm / np.abs(pcm).max() * 20, subtype=subtype)
    done = command("transcribe", path, "-q")
    assert (done.code, done.err) == (0, "")


def test_a_long_silence_is_an_empty_transcript(command: Command, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "silence.wav", np.zeros(24_000 * 60))
    content = json.loads(command("transcribe", path, "-f", "json").out)
    assert (content["words"], content["duration"]) == ([], 60)


@pytest.fixture
def broken(pcm: Array, tmp_path: Path) -> Path:
    """Speech, a sample that is no number, and speech that is not reached."""
    samples = np.concatenate([pcm, [np.nan], pcm])
    return write_wav(tmp_path / "broken.wav", samples, subtype="FLOAT")


def test_words_before_a_fault_are_printed(command: Command, broken: Path, text: str) -> None:
    done = command("transcribe", broken, "-q")
    assert (done.code, done.out) == (4, text + "\n")
    assert "NaN" in done.error


def test_words_before_a_fault_are_printed_live(command: Command, broken: Path, text: str) -> None:
    done = command("stream", "--input-file", broken, "--rate", 100, "-q")
    assert done.code == 4
    assert done.out.split()[: len(text.split()) - 1] == text.split()[:-1]
    assert done.out.endswith("\n")
    assert "NaN" in done.error


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_fault_is_reported_in_the_document_too(
    command: Command, broken: Path, pcm: Array, text: str, kind: str
) -> None:
    done = command("transcribe", broken, "-f", kind, "-q")
    content = json.loads(done.out)
    assert done.code == 4
    assert content["text"] == text
    assert content["error"] == done.error
    assert content["duration"] == pytest.approx(len(pcm) / 24000, abs=0.001)


@pytest.mark.parametrize("kind", ["text", "srt", "vtt", "tsv"])
def test_words_before_a_fault_are_in_the_file(
    command: Command, broken: Path, speech: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    done = command("transcribe", broken, "-f", kind, "-o", out, "-q")
    assert (done.code, done.out) == (4, "")
    assert out.read_text() == command("transcribe", speech, "-f", kind).out


def test_a_file_that_was_cut_short_gives_what_it_has(
    command: Command, pcm: Array, tmp_path: Path, text: str
) -> None:
    path = write_wav(tmp_path / "cut.wav", np.concatenate([pcm, hiss(30)]))
    path.write_bytes(path.read_bytes()[: 44 + 2 * len(pcm)])
    done = command("transcribe", path, "-q")
    assert (done.code, done.out) == (4, text + "\n")
    assert "cut short" in done.error


def test_a_fault_in_one_of_several_is_reported_and_the_rest_is_done(
    command: Command, broken: Path, speech: Path, text: str
) -> None:
    done = command("transcribe", broken, speech, "-f", "json", "-q")
    first, second = json.loads(done.out)
    assert done.code == 4
    assert "NaN" in first["error"]
    assert "error" not in second
    assert first["text"] == second["text"] == text


def test_the_first_of_several_faults_gives_the_exit_code(
    command: Command, speech: Path, tmp_path: Path
) -> None:
    two = write_wav(tmp_path / "two.wav", np.stack([hiss(1), hiss(1)], axis=1))
    done = command("transcribe", speech, tmp_path / "gone.wav", two, "--channel", 1, "-q")
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [True, True]
    assert "no channel 1" in lines[0]
    assert "gone.wav" in lines[1]


def cancelling(path: Path, pcm: Array) -> None:
    write_wav(path, np.stack([pcm, -pcm], axis=1))


def as_large_as_integers(path: Path, pcm: Array) -> None:
    write_wav(path, np.rint(pcm * 2**15), subtype="FLOAT")


@pytest.mark.parametrize("make", [cancelling, as_large_as_integers])
def test_odd_levels_are_put_right_with_a_note(
    command: Command, tmp_path: Path, pcm: Array, text: str, make
) -> None:
    path = tmp_path / "odd.wav"
    make(path, pcm)
    done = command("transcribe", path, "--model", "demo/stt")
    assert (done.code, done.out.split()) == (0, text.split())
    (line,) = done.err.splitlines()
    assert line.startswith(f"note: {path}: ")
    assert command("transcribe", path, "--model", "demo/stt", "-q").err == ""
