"""The fuzz benchmark's short form: no parser fails on a few hundred broken inputs."""

from pathlib import Path

import pytest

pytest.importorskip("msgspec", reason="the serve extra is not installed")
pytest.importorskip("av", reason="the serve extra is not installed")

from benchmarks.fuzz import PARSERS, try_slice

INPUTS = 300


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_refuses_what_is_broken(name: str, tmp_path: Path) -> None:
    if name in ("safetensors", "gguf", "pickle"):
        pytest.importorskip("torch", reason="the export needs torch")
    tried = try_slice(name, 1, 0, INPUTS, tmp_path)
    assert tried.failed == ()
    assert tried.inputs == INPUTS
