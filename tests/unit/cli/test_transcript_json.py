"""Transcripts in JSON: what is written is what docs/transcript.schema.json describes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.commands import Command
from support.paths import ROOT

from kyutai_onnx.models import Word

SCHEMA = json.loads((ROOT / "docs" / "transcript.schema.json").read_text("utf-8"))


def strict(schema: Any) -> Any:
    """The same schema, by which a field that is not described is wrong."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "required" in schema else {}
    return {name: strict(value) for name, value in schema.items()} | closed


VALIDATOR = Draft202012Validator(strict(SCHEMA))


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from numbers(each)
    elif isinstance(content, float):
        yield content


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_what_is_not_described_is_noticed(command: Command, speech: Path) -> None:
    content = json.loads(command("transcribe", speech, "-f", "json").out)
    for wrong in ({"words": [{"text": "a"}]}, {"mood": "good"}, {"duration": -1}):
        assert not VALIDATOR.is_valid(content | wrong)


def test_a_transcript_is_as_described(command: Command, speech: Path, words: list[Word]) -> None:
    content = json.loads(command("transcribe", speech, "-f", "json").out)
    VALIDATOR.validate(content)
    assert [segment["text"] for segment in content["segments"]] == [content["text"]]
    (segment,) = content["segments"]
    assert (segment["start"], segment["end"]) == (words[0].start, words[-1].end)
    confidences = [word["confidence"] for word in content["words"]]
    assert confidences == pytest.approx([word.confidence for word in words], abs=0.002)


def test_several_transcripts_are_as_described(command: Command, speech: Path) -> None:
    content = json.loads(command("transcribe", speech, speech, "-f", "json").out)
    VALIDATOR.validate(content)
    lines = command("transcribe", speech, speech, "-f", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == content


def test_a_recording_that_breaks_off_is_as_described(
    command: Command, tmp_path: Path, speech: Path
) -> None:
    broken = tmp_path / "broken.wav"
    whole = speech.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    content = json.loads(command("transcribe", broken, "-f", "json", "-q").out)
    VALIDATOR.validate(content)
    assert content["error"]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_no_number_has_noise(command: Command, speech: Path, kind: str) -> None:
    content = json.loads(command("transcribe", speech, "-f", kind).out)
    found = list(numbers(content))
    assert len(found) > 10
    assert found == [round(number, 3) for number in found]
