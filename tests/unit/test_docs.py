"""The pages: their code is valid and their links lead somewhere."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pages import BLOCKS, Block
from support.paths import ROOT

from kyutai_onnx.cli.live.turn_policy import turn_policy
from kyutai_onnx.server.config import read_config

READERS: dict[str, Callable[[Path], object]] = {
    "docs/live.md": lambda path: turn_policy(str(path)),
    "docs/serving.md": read_config,
}
"""Those of a page's settings."""
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
"""Of another file, without what follows '#'."""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_code_of_its_language(block: Block, tmp_path: Path) -> None:
    match block.language:
        case "python":
            compile(block.code, str(block), "exec")
        case "toml":
            (tmp_path / "api-keys").write_text("a-key-of-sixteen-or-more-characters")
            settings = tmp_path / "settings.toml"
            settings.write_text(
                block.code.replace("/etc/kyutai-onnx", tmp_path.as_posix()), "utf-8"
            )
            READERS[block.page](settings)
        case "sh":
            subprocess.run(["sh", "-n"], input=block.code, text=True, check=True)
        case language:
            assert language == "text"


def test_a_mark_names_a_reason_and_commands_that_are_there() -> None:
    for block in BLOCKS:
        assert all(text in block.code for texts in block.reasons.values() for text in texts), block
    assert len([block for block in BLOCKS if block.reasons]) > 20


@pytest.mark.parametrize("mark", ["tired", "weights network", "weights ()"])
def test_a_mark_with_another_reason_fails(mark: str) -> None:
    with pytest.raises(AssertionError, match="README"):
        _ = Block("README.md", 1, "sh", "ls\n", mark, "").reasons


def test_a_mark_leaves_out_its_commands_alone() -> None:
    code = "pip install x && x --help\nexport y\ny --version\n"
    block = Block("README.md", 1, "sh", code, "network (pip), weights (export)", "")
    assert block.commands == ["x --help", "y --version"]
    assert Block("README.md", 1, "sh", code, "long", "").commands == []


def test_links_of_the_pages_lead_to_files() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text("utf-8"))]
    assert len(links) > 50
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
