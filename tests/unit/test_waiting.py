"""Tests wait for what happens, and not for some time."""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.paths import TESTS

MAY_SLEEP = {
    "support/waiting.py": "looks again whether something has happened",
    "support/witness.py": "speaks at the pace of speech",
    "integration/server/test_balanced.py": "speaks at the pace of speech",
    "conformance/test_kyutai_scripts.py": "sends at the pace of Kyutai's script",
}


def sleeps(file: Path) -> Iterator[int]:
    """Yield the line of each call of `sleep` that takes time."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            argument = node.args[0] if node.args else None
            is_zero = isinstance(argument, ast.Constant) and argument.value == 0
            if node.func.attr == "sleep" and not is_zero:
                yield node.lineno


def test_nothing_sleeps_but_what_has_a_pace() -> None:
    found = {
        file.relative_to(TESTS).as_posix() for file in TESTS.rglob("*.py") if any(sleeps(file))
    }
    assert found == set(MAY_SLEEP)
