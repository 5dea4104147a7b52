"""The Python that the pages show, run as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kyutai_onnx.models.hub.resolve import DEMO

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(DEMO / "samples", tmp_path / "models" / "demo" / "samples")
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert "afternoon" in (shown := capsys.readouterr().out) or "fifty" in shown
