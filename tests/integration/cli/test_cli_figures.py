"""No result carries the noise of floats, such as 0.30000000000000004, in any format."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.commands import Command
from support.speech import RATE, Array, hiss, write_wav

from kyutai_onnx.cli.commands import doctor
from kyutai_onnx.cli.option_values import Format
from kyutai_onnx.models import events

NOISE = re.compile(r"\d\.\d{7,}|\d[eE]-\d")


@pytest.fixture
def talk(pcm: Array, tmp_path: Path) -> Path:
    """Speech with rests, at a length that is no round number."""
    parts = [pcm, hiss(1.7), pcm, hiss(2)]
    return write_wav(tmp_path / "talk.wav", np.concatenate(parts)[: -RATE // 7])


def test_the_pattern_finds_noise() -> None:
    assert NOISE.search(f"{0.1 + 0.2}")
    assert NOISE.search(json.dumps(float(np.float32(0.1))))
    assert NOISE.search(json.dumps(1e-17))
    assert not NOISE.search("0.3 12.5 1.234567 2026-01-01")


@pytest.mark.parametrize("kind", Format)
def test_transcripts(command: Command, talk: Path, tmp_path: Path, kind: Format) -> None:
    out = tmp_path / "out"
    done = command("transcribe", talk, "-f", kind, "--vad", "--timestamps", "-o", out, "-q")
    assert done.code == 0
    content = re.sub(r"data:[^\"]*", "", out.read_text("utf-8"))
    content = re.sub(r"<(style|script).*?</\1>", "", content, flags=re.DOTALL)
    assert content.strip()
    assert not NOISE.search(content)


@pytest.mark.parametrize("ending", ["srt", "vtt", "json", "jsonl", "tsv", "txt"])
def test_words_of_speech(command: Command, tmp_path: Path, ending: str) -> None:
    words = tmp_path / f"words.{ending}"
    given = ("--words", words, "--model", "demo/tts", "--temp", 0)
    assert command("say", "seven thirty", "-o", tmp_path / "o.wav", *given).code == 0
    assert not NOISE.search(words.read_text())


@pytest.mark.parametrize(
    "arguments",
    [
        ("stream", "--input-file", "TALK", "-f", "jsonl", "--vad", "--rate", 100),
        ("stream", "--input-file", "TALK", "--vad", "--rate", 100),
        ("evaluate", "--json"),
        ("evaluate",),
        ("bench", "--json", "--frames", 3),
        ("bench", "--frames", 3),
        ("doctor", "--json"),
        ("doctor",),
        ("info", "--json"),
        ("info",),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_what_is_printed(
    command: Command, talk: Path, arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "BENCH_SECONDS", 0.05)
    monkeypatch.setattr(doctor, "READ_BYTES", 1 << 22)
    done = command(*(talk if part == "TALK" else part for part in arguments))
    assert done.code == 0
    assert not NOISE.search(done.out + done.err)


def test_events_are_rounded_whatever_their_floats() -> None:
    noisy = events.Word("a", 0.1 + 0.2, float(np.float32(0.7)), confidence=1 / 3)
    assert json.dumps(events.rounded(noisy)) == (
        '{"text": "a", "start": 0.3, "end": 0.7, "confidence": 0.333}'
    )
