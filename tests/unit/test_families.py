"""The registry of families: complete, true of the models, and alone in knowing them by name."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
from support.paths import ROOT

from kyutai_onnx.models.families import FAMILIES, SERVED, Family, Task, served_demos
from kyutai_onnx.runtime.bundle import manifest

LAYERS = ("runtime", "models", "server", "cli")
NAMING = {
    "models/families.py",
    "runtime/bundle/manifest.py",
}
"""Files that may know a family by its name."""

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def literals(path: Path) -> set[str]:
    """The strings of a file that are the name of a family."""
    constants = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    return {
        node.value
        for node in constants
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FAMILIES
    }


def keywords(family: Family) -> set[str]:
    """The keyword arguments of the streams of a family."""
    found: set[str] = set()
    for parameter in inspect.signature(family.model_class.stream).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= get_args(parameter.annotation)[0].__annotations__.keys()
        else:
            found.add(parameter.name)
    return found


def test_the_registry_has_every_family_of_the_manifest() -> None:
    assert set(FAMILIES) == set(get_args(manifest.Family))
    assert list(SERVED.values()) == [f for f in FAMILIES.values() if f.task is not Task.CODEC]
    assert served_demos() == [n for n, f in SERVED.items() if f.demo.folder]


@families
def test_a_model_knows_its_family_and_takes_its_options(family: Family) -> None:
    if family.task is not Task.CODEC:
        assert family.model_class.family is family
        options = {field.name for field in dataclasses.fields(family.options)}
        assert options | {"options", "trace"} == keywords(family) - {"self", "voice"}


def test_families_are_known_by_name_in_the_registry_alone() -> None:
    files = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    assert len(files) > 100
    naming = {path.relative_to(ROOT).as_posix(): literals(path) for path in files}
    assert {path for path, found in naming.items() if found} == NAMING


def test_the_page_knows_no_family_by_name() -> None:
    scripts = sorted((ROOT / "server" / "page").glob("*.js"))
    assert len(scripts) > 10
    names = "|".join(FAMILIES)
    named = re.compile(rf"""["'`](?:{names})["'`]|^\s*(?:{names}):|\.family\b""", re.MULTILINE)
    assert named.search('model.family === "stt"')
    assert [path.name for path in scripts if named.search(path.read_text("utf-8"))] == []
