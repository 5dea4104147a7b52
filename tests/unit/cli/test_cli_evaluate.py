"""`evaluate`: word error rate, word times and pauses over a folder, a manifest or a named set."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.bundles import without_heads
from support.commands import Command
from support.speech import Array, hiss, write_wav

from kyutai_onnx.models import Word


@pytest.fixture
def folder(pcm: Array, text: str, tmp_path: Path) -> Path:
    """Two recordings with transcripts, one right and one with a word too many, and other files."""
    made = tmp_path / "set"
    (made / "inner").mkdir(parents=True)
    for path, said in ((made / "a.wav", text), (made / "inner" / "b.wav", f"{text} zebra")):
        write_wav(path, pcm)
        path.with_suffix(".txt").write_text(said + "\n", "utf-8")
    write_wav(made / "without-a-transcript.wav", pcm)
    (made / "notes.txt").write_text("not of a recording")
    return made


def write_manifest(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return path


def timed(words: list[Word], shift: float = 0.0) -> list[dict[str, object]]:
    return [{"text": w.text, "start": w.start + shift, "end": w.end + shift} for w in words]


@pytest.mark.parametrize("given", [(), ("--dataset",)])
def test_a_folder_is_counted(
    command: Command, folder: Path, words: list[Word], pcm: Array, given: tuple[str, ...]
) -> None:
    done = command("evaluate", *given, folder, "--normalizer", "none", "--json")
    assert done.code == 0
    figures = json.loads(done.out)
    assert figures["samples"] == 2
    assert figures["words"] == 2 * len(words) + 1
    assert figures["errors"] == figures["deletions"] == 1
    assert figures["substitutions"] == figures["insertions"] == 0
    assert figures["wer"] == pytest.approx(1 / (2 * len(words) + 1), abs=1e-6)
    assert 0 < figures["cer"] < figures["wer"] + 0.2
    assert figures["audio_seconds"] == pytest.approx(2 * len(pcm) / 24000)
    assert figures["times_real_time"] == pytest.approx(
        figures["audio_seconds"] / figures["compute_seconds"], rel=1e-3
    )
    assert "mean_start_error" not in figures
    assert "pauses_found" not in figures


def test_the_figures_in_words(command: Command, folder: Path, words: list[Word]) -> None:
    lines = command("evaluate", "--dataset", folder, "--normalizer", "none").out.splitlines()
    assert lines[0].startswith("samples              2 (")
    assert f"1 of {2 * len(words) + 1}" in lines[1]
    assert lines[1].endswith("0 substituted, 1 deleted, 0 inserted)")
    assert lines[3].endswith("x real time")
    assert len(lines) == 4


def test_only_so_many_samples(command: Command, folder: Path) -> None:
    figures = json.loads(command("evaluate", "--dataset", folder, "--limit", 1, "--json").out)
    assert (figures["samples"], figures["errors"]) == (1, 0)


def test_errors_are_shown_beside_the_figures(command: Command, folder: Path, text: str) -> None:
    asked = ("evaluate", "--dataset", folder, "--normalizer", "none", "--show-errors", "--json")
    done = command(*asked)
    assert json.loads(done.out)["errors"] == 1
    path = folder / "inner" / "b.wav"
    assert done.err.splitlines()[2:] == [f"{path}: expected '{text} zebra', found '{text}'"]


def test_recordings_without_a_transcript_are_named(command: Command, folder: Path) -> None:
    noted = command("evaluate", "--dataset", folder).err.splitlines()[0]
    assert "without-a-transcript.wav" in noted
    assert "b.wav" not in noted


def test_what_was_found_is_written(
    command: Command, folder: Path, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "found.jsonl"
    done = command("evaluate", "--dataset", folder, "--normalizer", "none", "--hypotheses", path)
    assert done.code == 0
    none = {"substitutions": 0, "deletions": 0, "insertions": 0}
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"audio": str(folder / "a.wav"), "text": text, "hypothesis": text, **none},
        {
            "audio": str(folder / "inner" / "b.wav"),
            "text": f"{text} zebra",
            "hypothesis": text,
            **none,
            "deletions": 1,
        },
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.wav"])
def test_no_file_of_the_data_set_is_replaced(command: Command, folder: Path, name: str) -> None:
    before = (folder / name).read_bytes()
    done = command("evaluate", "--dataset", folder, "--hypotheses", folder / name)
    assert (done.code, name in done.error) == (2, True)
    assert (folder / name).read_bytes() == before


def test_a_transcript_that_is_no_text_is_named(command: Command, folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xff\xff\xff")
    done = command("evaluate", "--dataset", folder, "-q")
    assert (done.code, "a.txt" in done.error) == (2, True)


def test_a_manifest_reports_where_words_begin(
    command: Command, pcm: Array, text: str, words: list[Word], tmp_path: Path
) -> None:
    write_wav(tmp_path / "a.wav", np.concatenate([pcm, hiss(2)]))
    entry = {"audio": "a.wav", "text": text, "words": timed(words, -0.25)}
    path = write_manifest(tmp_path / "some.jsonl", entry)
    figures = json.loads(command("evaluate", "--dataset", path, "--json").out)
    assert figures["errors"] == 0
    assert figures["mean_start_error"] == pytest.approx(0.25, abs=0.05)
    assert figures["mean_start_bias"] == pytest.approx(0.25, abs=0.05)
    assert 0 <= figures["pauses_found"] <= 1
    lines = command("evaluate", "--dataset", path).out.splitlines()
    assert lines[4].startswith("word starts          0.")
    assert lines[5].startswith("pauses               ")


def test_a_model_without_heads_has_no_figures_of_pauses(
    command: Command, speech: Path, text: str, words: list[Word], tmp_path: Path
) -> None:
    bundle = without_heads(tmp_path / "bundle")
    entry = {"audio": str(speech), "text": text, "words": timed(words)}
    path = write_manifest(tmp_path / "some.jsonl", entry)
    asked = ("evaluate", "--dataset", path, "--model", bundle, "--json")
    figures = json.loads(command(*asked).out)
    assert figures["mean_start_error"] == pytest.approx(0)
    assert "pauses_found" not in figures


def test_a_manifest_in_a_folder_goes_before_its_files(
    command: Command, folder: Path, text: str
) -> None:
    write_manifest(folder / "manifest.jsonl", {"audio": "a.wav", "text": text})
    figures = json.loads(command("evaluate", "--dataset", folder, "--json").out)
    assert figures["samples"] == 1


def test_texts_are_made_comparable(
    command: Command, speech: Path, text: str, tmp_path: Path
) -> None:
    said = f"{text.upper()}!"
    path = write_manifest(tmp_path / "some.jsonl", {"audio": str(speech), "text": said})
    errors = {
        kind: json.loads(
            command("evaluate", "--dataset", path, "--normalizer", kind, "--json").out
        )["errors"]
        for kind in ("english", "basic", "none")
    }
    assert errors["english"] == errors["basic"] == 0
    assert errors["none"] > 0


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no samples"),
        (b"\n\n", "no samples"),
        (b'{"audio": "a.wav"}\n', "line 1"),
        (b'\n{"text": "one"}\n', "line 2"),
        (b"not json\n", "line 1"),
        (b"[1, 2]\n", "line 1"),
        pytest.param(b"[" * 100_000, "line 1", id="deep"),
        (b'{"audio": "a.wav", "text": 3}\n', "line 1"),
        (
            b'{"audio": "a.wav", "text": "a", "words": [{"text": "a", "start": NaN, "end": 1}]}',
            "line 1",
        ),
        (b'{"audio": 3, "text": "one"}\n', "line 1"),
        (b'{"audio": "a.wav", "text": "one", "words": [{"text": "one"}]}\n', "line 1"),
        (b"\xfe\xff\x00", "UTF-16"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    command: Command, tmp_path: Path, content: bytes, cause: str
) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    done = command("evaluate", "--dataset", path, "-q")
    assert (done.code, done.out) == (2, "")
    assert str(path) in done.error
    assert cause in done.error


def test_a_folder_without_transcripts_is_refused(
    command: Command, pcm: Array, tmp_path: Path
) -> None:
    write_wav(tmp_path / "a.wav", pcm)
    done = command("evaluate", "--dataset", tmp_path, "-q")
    assert done.code == 2
    assert ".txt" in done.error


def test_a_set_of_no_known_name_is_refused(command: Command) -> None:
    done = command("evaluate", "--dataset", "librispeech.dirty", "-q")
    assert done.code == 2
    assert "librispeech.clean" in done.error


def test_a_recording_that_is_missing_is_named(command: Command, tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "some.jsonl", {"audio": "gone.wav", "text": "one"})
    done = command("evaluate", "--dataset", path, "-q")
    assert done.code == 4
    assert str(tmp_path / "gone.wav") in done.error


def test_named_sets_say_which_package_they_need(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = command("evaluate", "--dataset", "ami", "-q")
    assert done.code == 2
    assert "kyutai-onnx[evaluate]" in done.error


@pytest.mark.parametrize("package", ["jiwer", "whisper_normalizer"])
def test_scoring_needs_an_extra(
    command: Command, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else object()
    )
    done = command("evaluate", "-q")
    assert done.code == 2
    assert package in done.error
    assert "kyutai-onnx[evaluate]" in done.error


def test_a_named_set_is_read_from_the_hub(
    command: Command, pcm: Array, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    doubled = np.repeat(pcm, 2)

    def load_dataset(*names: object, **options: object) -> list[dict[str, object]]:
        asked.extend([*names, options])
        audio = {"array": np.stack([doubled, doubled]), "sampling_rate": 48000}
        return [
            {"audio": audio, "text": "ignore time segment in scoring"},
            {"audio": audio, "text": " "},
            {"audio": audio, "text": text},
        ]

    stand_in = SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    figures = json.loads(command("evaluate", "--dataset", "librispeech.other", "--json").out)
    assert figures["samples"] == 1
    assert figures["audio_seconds"] == pytest.approx(len(pcm) / 24000, abs=0.001)
    options = {"split": "test.other", "streaming": True}
    assert asked == ["hf-audio/esb-datasets-test-only-sorted", "librispeech", options]


def test_a_named_set_that_cannot_be_had_is_a_model_error(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no network\nand more")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    done = command("evaluate", "--dataset", "ami", "-q")
    assert done.code == 3
    assert done.error.endswith(": no network")


def test_by_default_the_samples_of_the_demo_are_used(command: Command) -> None:
    done = command("evaluate", "--json")
    assert done.code == 0
    figures = json.loads(done.out)
    assert figures["samples"] >= 2
    assert figures["wer"] < 0.1
    assert figures.get("mean_start_error", 0) < 0.2
