"""`transcribe` of one file: what it writes in every format, and where."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Command
from support.speech import Array, hiss, write_wav

from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.models.text.subtitles import CueLayout, srt, vtt

CLOCK = r"\d\d:\d\d:\d\d"


def text_of(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def test_text_is_one_line_on_stdout(command: Command, speech: Path, words: list[Word]) -> None:
    done = command("transcribe", speech)
    assert done.code == 0
    assert done.out == text_of(words) + "\n"


def test_without_a_model_stderr_says_what_is_used_instead(command: Command, speech: Path) -> None:
    (note,) = command("transcribe", speech).err.splitlines()
    assert "embedded demo" in note
    assert "not Kyutai's model" in note
    assert "--model kyutai/" in note


def test_quiet_leaves_stderr_empty(command: Command, speech: Path) -> None:
    assert command("transcribe", speech, "--quiet").err == ""


def test_a_model_that_was_chosen_needs_no_note(
    command: Command, speech: Path, model: SpeechToText
) -> None:
    assert command("transcribe", speech, "--model", model.bundle.path).err == ""


def test_timestamps_put_a_word_on_a_line(command: Command, speech: Path, words: list[Word]) -> None:
    lines = command("transcribe", speech, "--timestamps").out.splitlines()
    found = [re.fullmatch(r"\[ *(\d+\.\d\d) - *(\d+\.\d\d)\] (\S+)", line) for line in lines]
    assert [match[3] for match in found if match] == [word.text for word in words]
    for word, match in zip(words, found, strict=True):
        assert match is not None
        assert float(match[1]) == pytest.approx(word.start, abs=0.006)
        assert float(match[2]) == pytest.approx(word.end, abs=0.006)


def test_json_has_what_was_promised(
    command: Command, speech: Path, pcm: Array, words: list[Word], model: SpeechToText
) -> None:
    content = json.loads(command("transcribe", speech, "--format", "json").out)
    assert content["text"] == text_of(words)
    assert [word["text"] for word in content["words"]] == [word.text for word in words]
    starts = [word["start"] for word in content["words"]]
    assert starts == pytest.approx([word.start for word in words], abs=0.001)
    assert all(word["start"] <= word["end"] for word in content["words"])
    assert all(set(pause) == {"time", "probability"} for pause in content["pauses"])
    assert content["duration"] == pytest.approx(len(pcm) / model.sample_rate, abs=0.001)
    assert content["model"] == model.bundle.manifest.name
    assert content["file"] == str(speech)
    assert "error" not in content


def test_jsonl_is_the_same_on_one_line(command: Command, speech: Path) -> None:
    (line,) = command("transcribe", speech, "-f", "jsonl").out.splitlines()
    assert json.loads(line) == json.loads(command("transcribe", speech, "-f", "json").out)


def test_tsv_is_that_of_whisper(command: Command, speech: Path, words: list[Word]) -> None:
    head, row = command("transcribe", speech, "-f", "tsv").out.splitlines()
    assert head.split("\t") == ["start", "end", "text"]
    start, end, text = row.split("\t")
    assert (int(start), int(end)) == (round(1000 * words[0].start), round(1000 * words[-1].end))
    assert text == text_of(words)


def test_tsv_of_one_word_a_row(command: Command, speech: Path, words: list[Word]) -> None:
    _, *rows = command("transcribe", speech, "-f", "tsv", "--max-words", 1).out.splitlines()
    assert [row.split("\t") for row in rows] == [
        [str(round(1000 * word.start)), str(round(1000 * word.end)), word.text] for word in words
    ]


@pytest.mark.parametrize(("kind", "render", "point"), [("srt", srt, ","), ("vtt", vtt, r"\.")])
def test_subtitles_are_whole_files(
    command: Command,
    speech: Path,
    words: list[Word],
    kind: str,
    render: Callable[[list[Word]], str],
    point: str,
) -> None:
    out = command("transcribe", speech, "-f", kind).out
    assert out == render(words)
    assert re.search(rf"^{CLOCK}{point}\d\d\d --> {CLOCK}{point}\d\d\d$", out, re.MULTILINE)
    assert out.startswith("1\n" if kind == "srt" else "WEBVTT\n\n")


@pytest.mark.parametrize("kind", ["text", "json", "jsonl", "srt", "vtt", "tsv"])
def test_a_file_gets_what_stdout_would_get(
    command: Command, speech: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "transcript"
    done = command("transcribe", speech, "-f", kind, "-o", out)
    assert (done.code, done.out) == (0, "")
    assert out.read_text("utf-8") == command("transcribe", speech, "-f", kind, "-o", "-").out


@pytest.mark.parametrize(
    ("ending", "kind"),
    [*((kind, kind) for kind in ("json", "jsonl", "srt", "vtt", "tsv", "html")), ("txt", "text")],
)
def test_the_ending_of_the_file_names_the_format(
    command: Command, speech: Path, tmp_path: Path, ending: str, kind: str
) -> None:
    out = tmp_path / f"transcript.{ending}"
    assert command("transcribe", speech, "-o", out).code == 0
    assert out.read_text("utf-8") == command("transcribe", speech, "-f", kind).out


@pytest.mark.parametrize(
    "arguments", [("-f", "srt", "-o", "a.vtt"), ("-o", "a.docx"), ("-o", "srt"), ("-o", "json")]
)
def test_an_ending_that_contradicts_or_names_nothing_is_refused(
    command: Command,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("transcribe", speech, *arguments)
    assert done.code == 2
    assert arguments[-1] in done.error
    assert not (tmp_path / arguments[-1]).exists()


def test_an_ending_that_names_nothing_is_taken_with_a_format(
    command: Command, speech: Path, tmp_path: Path
) -> None:
    assert command("transcribe", speech, "-f", "srt", "-o", tmp_path / "a.docx").code == 0
    assert (tmp_path / "a.docx").read_text().startswith("1\n00:00:")


def test_no_folder_is_made_for_a_file(command: Command, speech: Path, tmp_path: Path) -> None:
    done = command("transcribe", speech, "-o", tmp_path / "missing" / "a.srt")
    assert done.code == 2
    assert "no folder" in done.error
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_cues_are_laid_out_as_asked(
    command: Command, speech: Path, words: list[Word], kind: str
) -> None:
    render = {"srt": srt, "vtt": vtt}[kind]
    asked = ("--max-line-width", 12, "--max-lines", 1, "--max-words", 2, "--highlight")
    layout = CueLayout(12, 1, 2, highlight=True)
    assert command("transcribe", speech, "-f", kind, *asked).out == render(words, layout)
    assert "<u>" in render(words, layout)


def test_a_layout_of_cues_goes_with_cues(command: Command, speech: Path) -> None:
    done = command("transcribe", speech, "-f", "json", "--max-words", 1)
    assert done.code == 2
    assert "--max-words" in done.error


def test_a_folder_gets_a_file_named_like_the_audio(
    command: Command, speech: Path, tmp_path: Path, words: list[Word]
) -> None:
    assert command("transcribe", speech, "-o", tmp_path).code == 0
    assert (tmp_path / "speech.txt").read_text("utf-8") == text_of(words) + "\n"


@pytest.mark.parametrize("style", [(), ("--timestamps",)])
def test_nothing_said_is_no_text_but_a_note(
    command: Command, tmp_path: Path, style: tuple[str, ...]
) -> None:
    quiet, made = write_wav(tmp_path / "quiet.wav", hiss(1) * 0), tmp_path / "quiet.txt"
    done = command("transcribe", quiet, *style, "--model", "demo/stt")
    (note,) = done.err.splitlines()
    assert done.out == ""
    assert note.startswith(f"note: {quiet}")
    assert command("transcribe", quiet, *style, "-q", "-o", made).err == ""
    assert made.read_bytes() == b""
    both = command("transcribe", quiet, quiet, *style, "-q")
    assert both.out == f"{quiet}:\n" * 2


def test_an_empty_file_is_no_text_but_an_error(command: Command, tmp_path: Path) -> None:
    done = command("transcribe", write_wav(tmp_path / "empty.wav", hiss(0)), "-q")
    assert (done.code, done.out, len(done.err.splitlines())) == (4, "", 1)


@pytest.mark.parametrize("kind", ["json", "srt", "vtt", "tsv"])
def test_nothing_said_is_a_valid_file_of_every_format(
    command: Command, tmp_path: Path, kind: str
) -> None:
    quiet = write_wav(tmp_path / "quiet.wav", hiss(1) * 0)
    done = command("transcribe", quiet, "-f", kind)
    assert done.code == 0
    if kind == "json":
        assert json.loads(done.out)["words"] == []
    else:
        assert done.out.strip() == {"srt": "", "vtt": "WEBVTT", "tsv": "start\tend\ttext"}[kind]
