"""What commands read: samples without a header, folders, texts of every encoding; and that it is
checked before a model is loaded."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.commands import Command
from support.npz import arrays
from support.speech import RATE, Array, hiss
from support.threaded_card import BOX, MIC, using

from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.audio.pcm import encode
from kyutai_onnx.runtime.graph.graph import Graph


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch):
    """Gives commands a standard input."""

    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return give


@pytest.mark.parametrize("encoding", ["s16le", "s16be", "s32le", "f32le"])
def test_samples_without_a_header_come_by_a_pipe(
    command: Command, piped, pcm: Array, text: str, encoding: str
) -> None:
    piped(encode(pcm, encoding))  # type: ignore[arg-type]
    done = command("transcribe", "-", "--raw", encoding, "--rate", RATE, "-q")
    assert (done.code, done.out, done.err) == (0, f"{text}\n", "")


def test_samples_without_a_header_may_be_a_file_of_many_channels(
    command: Command, pcm: Array, speech: Path, tmp_path: Path
) -> None:
    path, codes, expected = tmp_path / "x.pcm", tmp_path / "a.npz", tmp_path / "b.npz"
    path.write_bytes(encode(np.stack([hiss(len(pcm) / RATE)[: len(pcm)], pcm], 1).ravel(), "f32le"))
    raw = ("--raw", "f32le", "--rate", RATE, "--channels", 2, "--channel", 1)
    assert command("codec", "encode", path, codes, *raw, "-q").code == 0
    assert command("codec", "encode", speech, expected, "-q").code == 0
    np.testing.assert_array_equal(arrays(codes)["codes"], arrays(expected)["codes"])


def test_translate_takes_them_too(command: Command, piped, pcm: Array, tmp_path: Path) -> None:
    piped(encode(pcm, "mulaw"))
    raw = ("--raw", "mulaw", "--rate", RATE, "--model", "demo/hibiki", "--temp", 0, "-q")
    assert command("translate", "-", tmp_path / "out.wav", *raw).code == 0
    assert soundfile.info(tmp_path / "out.wav").frames


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (("--raw", "s16le"), "--rate"),
        (("--raw", "s17le", "--rate", 16000), "mulaw"),
        (("--rate", 16000), "--raw"),
        (("--channels", 2), "--raw"),
    ],
)
@pytest.mark.parametrize("way", ["transcribe", "translate", "chat", "codec"])
def test_what_samples_are_is_asked_for_before_all_else(
    command: Command, tmp_path: Path, way: str, given: tuple[object, ...], key: str
) -> None:
    ways = {"codec": ("encode", "IN", tmp_path / "x.npz"), "transcribe": ("IN",)}
    arguments = ways.get(way, ("IN", tmp_path / "x.wav"))
    done = command(way, *arguments, *given, "--model", "nowhere")
    assert (done.code, key in done.error) == (2, True)


@pytest.fixture
def folder(tmp_path: Path, speech: Path) -> Path:
    """Two recordings, one of them in a folder within, and files that are none."""
    made = tmp_path / "talks"
    (made / "more").mkdir(parents=True)
    for name in ("b.wav", "more/a.wav", ".hidden.wav"):
        (made / name).write_bytes(speech.read_bytes())
    (made / "notes.txt").write_text("not sound")
    (made / ".DS_Store").write_bytes(bytes(16))
    return made


def test_a_folder_is_its_recordings(command: Command, folder: Path, text: str) -> None:
    done = command("transcribe", folder, "--model", "demo/stt")
    (note,) = done.err.splitlines()
    assert note.startswith("note: ")
    assert note.endswith("notes.txt")
    assert done.out == f"{folder / 'b.wav'}: {text}\n{folder / 'more/a.wav'}: {text}\n"
    assert command("transcribe", folder, "-q").err == ""


def test_a_folder_goes_to_a_folder_with_its_folders(
    command: Command, folder: Path, tmp_path: Path, text: str
) -> None:
    (folder / "more" / "b.wav").write_bytes((folder / "b.wav").read_bytes())
    (folder / "b.wav").rename(folder / "c.wav")
    (folder / "more" / "a.wav").rename(folder / "b.wav")
    assert command("transcribe", folder, "-o", f"{tmp_path}/made/", "-q").code == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert made - {"talks/notes.txt"} == {"made/b.txt", "made/c.txt", "made/more/b.txt"}
    assert (tmp_path / "made/more/b.txt").read_text() == f"{text}\n"


def test_no_two_transcripts_go_to_one_file(command: Command, folder: Path, tmp_path: Path) -> None:
    (folder / "more" / "b.wav").write_bytes((folder / "b.wav").read_bytes())
    for inputs in ((folder / "b.wav", folder / "more" / "b.wav"), (folder, folder / "more")):
        done = command("transcribe", *inputs, "-o", f"{tmp_path}/made/", "-q")
        assert (done.code, done.out) == (2, "")
        assert str(tmp_path / "made" / "b.txt") in done.error
    assert not (tmp_path / "made").exists()


def test_many_files_that_are_left_out_are_counted(command: Command, folder: Path) -> None:
    for index in range(7):
        (folder / f"page{index}.txt").write_text("x")
    assert "and 3 more" in command("transcribe", folder).err


MARKS = {
    "UTF-8": b"\xef\xbb\xbf%b",
    "UTF-16 LE": b"\xff\xfe%b",
    "UTF-16 BE": b"\xfe\xff%b",
}


def encoded(said: str, name: str) -> bytes:
    kind = {"UTF-8": "utf-8", "UTF-16 LE": "utf-16-le", "UTF-16 BE": "utf-16-be"}[name]
    return MARKS[name] % said.encode(kind)


@pytest.mark.parametrize("mark", MARKS)
def test_manifests_and_transcripts_may_have_a_byte_order_mark(
    command: Command, speech: Path, text: str, tmp_path: Path, mark: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.wav").write_bytes(speech.read_bytes())
    (tmp_path / "sub" / "a.txt").write_bytes(encoded(f"{text}\r\n", mark))
    manifest = tmp_path / "set.jsonl"
    entry = {"audio": "sub\\a.wav", "text": text}
    manifest.write_bytes(encoded(json.dumps(entry) + "\r\n", mark))
    for dataset in (tmp_path / "sub", manifest):
        done = command("evaluate", "--dataset", dataset, "--json", "-q")
        assert (done.code, json.loads(done.out)["errors"]) == (0, 0)


@pytest.mark.parametrize("mark", MARKS)
def test_texts_of_options_may_have_one_too(
    command: Command, speech: Path, tmp_path: Path, mark: str
) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(encoded("Boston\nKyutai:3\n", mark))
    assert command("transcribe", speech, "--hotwords", f"@{words}", "-q").code == 0


@pytest.fixture
def _unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph is loaded."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(Graph, "__init__", load)


def text_file(folder: Path) -> Path:
    path = folder / "diary.wav"
    path.write_text("Dear diary, nothing was recorded today.\n" * 40)
    return path


AUDIO = {
    "transcribe": ("transcribe", "IN"),
    "prompt": ("transcribe", "GOOD", "--prompt-audio", "IN"),
    "translate": ("translate", "IN", "OUT", "--model", "demo/hibiki"),
    "chat": ("chat", "IN", "OUT"),
    "codec": ("codec", "encode", "IN", "OUT.npz"),
    "stream": ("stream", "--input-file", "IN"),
    "live translation": ("stream", "--input-file", "IN", "--model", "demo/hibiki"),
}


@pytest.mark.parametrize("way", AUDIO)
@pytest.mark.parametrize("wrong", ["missing", "not audio", "empty"])
@pytest.mark.usefixtures("_unloaded")
def test_a_recording_is_opened_before_a_model(
    command: Command, speech: Path, tmp_path: Path, way: str, wrong: str, piped
) -> None:
    path = text_file(tmp_path) if wrong == "not audio" else tmp_path / "gone.wav"
    if wrong == "empty":
        path.touch()
    names = {"IN": path, "GOOD": speech, "OUT": tmp_path / "o.wav", "OUT.npz": tmp_path / "o.npz"}
    done = command(*(names.get(part, part) for part in AUDIO[way]))
    assert (done.code, str(path) in done.err) == (4, True)
    assert "seed" not in done.err
    assert not list(tmp_path.glob("o.*"))


@pytest.mark.usefixtures("_unloaded")
@pytest.mark.parametrize(
    ("arguments", "code", "key"),
    [
        (("say", " ", "-o", "OUT"), 2, "nothing to say"),
        (("say", "hi", "-o", "OUT", "--voice", "gone.npz"), 2, "gone.npz"),
        (("say", "hi", "-o", "OUT.png"), 4, ".png"),
        (("say", "hi", "-o", "OUT", "--words", "x.doc"), 2, "x.doc"),
        (("transcribe", "GOOD", "--channel", 3), 2, "channel 3"),
        (("transcribe", "https://127.0.0.1/a.wav"), 4, "https://127.0.0.1/a.wav is a URL"),
        (("transcribe", "GOOD", "-o", "OUT.srt", "-f", "json"), 2, "contradicts"),
        (("translate", "GOOD", "OUT", "--words", "x.doc"), 2, "x.doc"),
        (("codec", "decode", "GOOD", "OUT"), 4, "codes"),
        (("evaluate", "--dataset", "gone.jsonl"), 2, "gone.jsonl"),
        (("evaluate", "--dataset", "MANIFEST"), 4, "gone.wav"),
        (("stream", "--model", "demo/tts", "--input-file", "gone.txt"), 1, "gone.txt"),
        (("stream", "--model", "demo/tts", "--input-file", "BLANK"), 2, "nothing to say"),
        (("stream", "--input-device", "nothing"), 4, "'nothing'"),
        (("stream", "--model", "demo/tts", "--output-device", "nothing"), 4, "'nothing'"),
        (("say", "hi", "--play", "--output-device", "nothing"), 4, "'nothing'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_found_before_a_model_is_loaded(
    command: Command,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    code: int,
    key: str,
) -> None:
    using(monkeypatch)(np.zeros(RATE, np.float32), MIC, BOX)
    manifest, blank = tmp_path / "set.jsonl", tmp_path / "blank.txt"
    manifest.write_text(json.dumps({"audio": "gone.wav", "text": "one"}))
    blank.write_bytes(b"\xef\xbb\xbf \r\n")
    names = {"GOOD": speech, "MANIFEST": manifest, "BLANK": blank, "OUT": tmp_path / "o.wav"}
    names |= {"OUT.png": tmp_path / "o.png", "OUT.srt": tmp_path / "o.srt"}
    done = command(*(names.get(str(part), part) for part in arguments))
    assert (done.code, key in done.err) == (code, True)
    assert "seed" not in done.err


@pytest.mark.usefixtures("_unloaded")
@pytest.mark.parametrize("name", ["not-audio.wav", "voice.safetensors"])
def test_a_file_that_is_no_voice_is_found_before_a_model_is_loaded(
    command: Command, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("not a voice " * 50)
    done = command("say", "hi", "-o", tmp_path / "o.wav", "--voice", path, "--model", DEMO / "tts")
    assert done.code in (2, 3, 4)
    assert name in done.error


def test_of_several_recordings_one_that_can_be_opened_is_enough(
    command: Command, speech: Path, tmp_path: Path, text: str
) -> None:
    done = command("transcribe", tmp_path / "gone.wav", speech, "-q")
    assert (done.code, done.out) == (4, f"{speech}: {text}\n")
    nothing = command("transcribe", tmp_path / "gone.wav", tmp_path / "lost.wav", "--model", "no")
    assert (nothing.code, "gone.wav" in nothing.error) == (4, True)


def test_a_seed_is_printed_once_there_is_a_text(command: Command, piped, tmp_path: Path) -> None:
    piped(b" \n")
    done = command("say", "-", "-o", tmp_path / "o.wav", "--model", "demo/tts")
    assert done.code == 2
    assert "nothing to say" in done.error
