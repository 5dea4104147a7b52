"""`say --jsonl`: many texts side by side."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import Command
from support.npz import arrays

from kyutai_onnx.models import TextToSpeech

TEXT = "set an alarm for seven thirty today please"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def samples(path: Path) -> np.ndarray:
    pcm, rate = soundfile.read(path, dtype="float32")
    assert rate == 24000
    return pcm


def test_a_list_of_texts_is_said_side_by_side(
    command: Command, embedded: Path, tmp_path: Path
) -> None:
    texts, folder = tmp_path / "texts.jsonl", tmp_path / "made"
    (tmp_path / "tokens").mkdir()
    lines = [
        {"turns": ["one two", "three"], "voices": ["anna.wav", "bert.wav"], "id": "talk"},
        {"text": TEXT, "id": "alarm"},
        {"turns": ["seven"], "voices": ["bert.wav"]},
    ]
    texts.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    arguments = ("--words", ".srt", "--dump-tokens", tmp_path / "tokens", "--temp", 0)
    done = command(
        "say",
        "--jsonl",
        texts,
        "-o",
        f"{folder}/",
        "--model",
        embedded,
        "--batch-size",
        2,
        *arguments,
    )
    assert (done.code, done.out) == (0, "")
    assert done.err == "no --voice given: using anna.wav\n"
    names = ["3", "alarm", "talk"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{ending}" for name in names for ending in (".wav", ".srt")
    )
    assert "alarm for seven" in (folder / "alarm.srt").read_text()
    model = TextToSpeech.load(embedded)
    alone = model.speak(["seven"], "bert.wav", temperature=0.0)
    np.testing.assert_array_equal(
        arrays(tmp_path / "tokens" / "3.npz")["audio"], alone.audio_tokens
    )
    np.testing.assert_allclose(samples(folder / "3.wav"), alone.pcm, atol=2**-15)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "not a JSON object"),
        pytest.param("[" * 100_000, "nested too deep", id="deep"),
        ('{"text": "a", "id": NaN}', "not a finite number"),
        ('{"id": "a"}', "give turns"),
        ('{"turns": "a", "id": "a"}', "list of texts"),
        ('{"turns": [" "], "id": "a"}', "nothing to say"),
        ('{"text": "a", "id": "../a"}', "cannot name a file"),
        ('{"text": "a", "id": ""}', "cannot name a file"),
        ('{"text": "a", "voices": [1]}', "list of texts"),
        ('{"text": "a", "prefix": "b"}', "prefix is unknown"),
        ('{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}', "two texts"),
        ("", "no text in it"),
    ],
)
def test_a_list_that_is_none_is_refused(
    command: Command, cloning: Path, tmp_path: Path, line: str, cause: str
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(line)
    done = command(
        "say", "--jsonl", texts, "-o", f"{tmp_path}/made/", "--model", cloning, "-q", "--seed", 1
    )
    assert done.code == 2
    assert cause in done.error
    assert not (tmp_path / "made").exists()
