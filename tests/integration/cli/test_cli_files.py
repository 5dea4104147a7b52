"""No command destroys a file that it reads, or a recording or model by something else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import Command, command_line, run_apart

from kyutai_onnx.models.families import DEMO, SAMPLES

LINKS = ("itself", "symbolic", "hard")


@pytest.fixture
def files(tmp_path: Path, speech: Path) -> Path:
    """A folder with recordings, and links to one of them."""
    shutil.copy(speech, tmp_path / "x.wav")
    shutil.copy(SAMPLES / "train.flac", tmp_path / "y.flac")
    (tmp_path / "symbolic").symlink_to("x.wav")
    os.link(tmp_path / "x.wav", tmp_path / "hard")
    (tmp_path / "list.jsonl").write_text('{"text": "one", "id": "list"}\n')
    (tmp_path / "say.txt").write_text("one")
    return tmp_path


OVER_AN_INPUT = [
    "transcribe x.wav -o x.wav",
    "transcribe x.wav -o symbolic",
    "transcribe symbolic -o hard",
    "transcribe x.wav --dump-tokens x.wav",
    "transcribe y.flac --prompt-audio x.wav -o x.wav",
    "transcribe y.flac --prompt-audio x.wav -o hard",
    "codec encode x.wav x.wav",
    "codec encode x.wav codes.npz --dump-tokens symbolic",
    "codec decode x.wav ./x.wav",
    "translate y.flac z.wav --srt y.flac",
    "translate y.flac z.wav --save-state y.flac",
    "translate y.flac z.wav --load-state x.wav --save-state symbolic",
    "translate y.flac y.flac",
    "chat y.flac z.wav --dump-tokens y.flac",
    "stream --input-file y.flac --words y.flac",
    "stream --input-file y.flac --save-input y.flac",
    "stream --input-file y.flac --save-state y.flac",
    "say one -o x.wav --voice symbolic",
    "say one -o z.wav --voice file://x.wav --save-voice x.wav",
    "say --jsonl list.jsonl -o . --words .jsonl",
    "stream --input-file say.txt --model {tts} --save-output say.txt",
]


@pytest.mark.parametrize("line", OVER_AN_INPUT)
def test_an_input_is_never_an_output(
    files: Path, command: Command, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(files)
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    for forced in ([], ["--force"]):
        done = command(*line.format(tts=DEMO / "tts").split(), *forced, "-q")
        assert (done.code, done.out) == (2, "")
        assert "is an input" in done.error
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_the_instances_as_a_user_runs_them(files: Path) -> None:
    before = (files / "x.wav").read_bytes()
    for out in ("x.wav", "symbolic", "hard"):
        done = run_apart("transcribe", "x.wav", "-o", out, "-q", cwd=files)
        assert done.code == 2
        assert "is an input" in done.error
    with (files / "x.wav").open("rb") as stdin:
        done = run_apart("transcribe", "-", "-o", "x.wav", "-q", cwd=files, stdin=stdin)
    assert done.code == 2
    with (files / "x.wav").open("ab") as stdout:
        done = run_apart("transcribe", "x.wav", "-q", cwd=files, stdout=stdout)
    assert done.code == 2
    assert "standard output" in done.error
    assert (files / "x.wav").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "translate y.flac z.wav --words z.srt --srt ./z.srt",
        "translate y.flac z.wav --dump-tokens z.wav",
        "stream --input-file y.flac --save-input z.wav --save-output z.wav",
        "codec encode x.wav z --dump-tokens z",
        "say one -o z.wav --save-voice z.wav",
        "say --jsonl list.jsonl -o . --words .wav --dump-tokens .",
    ],
)
def test_no_file_is_written_twice(
    files: Path, command: Command, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(files)
    done = command(*line.split(), "-q")
    assert done.code == 2
    assert "twice" in done.error or "names no format" in done.error
    assert not list(files.glob("z*"))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("transcribe x.wav -o y.flac", "recording"),
        ("transcribe x.wav -o noname", "recording"),
        ("transcribe x.wav -f jsonl -o talk.mp3", "recording"),
        ("transcribe x.wav --dump-tokens y.flac", "recording"),
        ("transcribe x.wav -o graph.onnx", "model"),
        ("transcribe x.wav -o tokens", "model"),
        ("transcribe x.wav -o voice", "model"),
        ("codec encode x.wav y.flac", "recording"),
        ("translate x.wav z.wav --save-state y.flac", "recording"),
        ("translate x.wav graph.onnx", "model"),
        ("say one -o z.wav --save-voice y.flac", "recording"),
        ("stream --input-file x.wav --save-state y.flac", "recording"),
    ],
)
def test_a_recording_or_a_model_is_not_replaced_by_something_else(
    files: Path, command: Command, monkeypatch: pytest.MonkeyPatch, line: str, kind: str
) -> None:
    monkeypatch.chdir(files)
    shutil.copy("y.flac", "noname")
    shutil.copy(DEMO / "stt" / "tokenizer.model", "tokens")
    Path("talk.mp3").write_bytes(b"of some kind")
    Path("graph.onnx").write_bytes(b"of some kind")
    Path("voice").write_bytes((20).to_bytes(8, "little") + b'{"speaker_wavs":{}}')
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    done = command(*line.split(), "-q")
    assert done.code == 2
    assert kind in done.error
    assert "--force" in done.error
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_force_replaces_a_recording(files: Path, command: Command, text: str) -> None:
    asked = ("-f", "text", "-o", files / "y.flac", "--force", "-q")
    done = command("transcribe", files / "x.wav", *asked)
    assert done.code == 0
    assert (files / "y.flac").read_text() == text + "\n"


def test_a_recording_replaces_a_recording_and_a_text_a_text(
    files: Path, command: Command, text: str
) -> None:
    codes, out = files / "codes.npz", files / "out.txt"
    for _ in range(2):
        assert command("codec", "encode", files / "x.wav", codes, "-q").code == 0
        assert command("codec", "decode", codes, files / "y.flac", "-q").code == 0
        assert command("transcribe", files / "x.wav", "-o", out, "-q").code == 0
    assert out.read_text() == text + "\n"


def test_a_file_of_the_model_is_never_an_output(files: Path, command: Command) -> None:
    bundle = files / "bundle"
    shutil.copytree(DEMO / "stt", bundle)
    link = files / "link"
    link.symlink_to(bundle / "LICENSE")
    for out in (bundle / "bundle.json", link):
        before = out.read_bytes()
        done = command("transcribe", files / "x.wav", "--model", bundle, "-o", out, "--force", "-q")
        assert done.code == 2
        assert "model" in done.error
        assert out.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout on this system")
def test_a_transcript_goes_to_a_descriptor(files: Path, text: str) -> None:
    out = files / "out.txt"
    with out.open("wb") as stdout:
        arguments = ("transcribe", files / "x.wav", "-o", "/dev/stdout", "-q")
        subprocess.run(command_line(*arguments), stdout=stdout, timeout=120, check=True)
    assert out.read_text() == text + "\n"


def test_no_export_replaces_a_folder_that_it_reads(files: Path, command: Command) -> None:
    done = command("export", "--repo", files, "--gate-audio", files / "x.wav", "-o", files, "-q")
    assert done.code == 2
    assert "holds the input" in done.error
