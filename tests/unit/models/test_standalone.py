"""A bundle runs from its manifest alone: the program in docs/bundle.md, as it stands there."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bundles import copy_demo
from support.pages import BLOCKS
from support.speech import Array

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.models.resolve import DEMO

PAGE = "docs/bundle.md"
Transcriber = Callable[[Path, Array], list[int]]


@pytest.fixture(scope="module")
def program() -> str:
    (block,) = [block for block in BLOCKS if (block.page, block.language) == (PAGE, "python")]
    return block.code


@pytest.fixture(scope="module")
def transcriber(program: str) -> Transcriber:
    names: dict[str, Any] = {}
    exec(compile(program, PAGE, "exec"), names)
    found: Transcriber = names["transcribe"]
    return found


def words_of_the_package(model: SpeechToText, pcm: Array) -> list[int]:
    recognized = TokenTrace()
    stream = model.stream(temperature=0, trace=recognized)
    stream.feed(pcm)
    stream.flush()
    return recognized.text


def test_the_program_needs_json_numpy_and_onnxruntime_alone(program: str) -> None:
    needed: set[str | None] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            needed |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            needed.add(node.module)
    assert needed == {"json", "numpy", "onnxruntime", "pathlib"}


def test_the_program_transcribes_what_the_package_does(
    transcriber: Transcriber, model: SpeechToText, pcm: Array
) -> None:
    text = transcriber(DEMO / "stt", pcm)
    assert len(set(text)) > 5
    assert text == words_of_the_package(model, pcm)


def test_the_program_goes_by_the_settings_in_the_manifest(
    transcriber: Transcriber, pcm: Array, tmp_path: Path
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["stt"] = {"audio_delay_seconds": 0.8, "audio_silence_prefix_seconds": 0.25}
        manifest["lm"]["delays"] = [0, 1, *[2] * (manifest["lm"]["n_q"] - 2), 0]

    folder = copy_demo(tmp_path / "bundle", change)
    theirs = words_of_the_package(SpeechToText.load(folder), pcm)
    ours = transcriber(folder, pcm)
    assert len(set(ours)) > 5
    assert theirs[1:] == ours[:-2]  # emitted two steps late, the greatest delay; the first counts
