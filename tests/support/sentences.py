"""Sentences for people: those that tests assert, and all that the code has, for one snapshot."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.paths import ROOT, TESTS
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from kyutai_onnx.cli.main import app

LONGEST = 4
"""Words that a test may assert of a message."""
SHARED = 3
"""Words in a row that a sentence has in common with a message, if it is one."""
WORD = re.compile(r"[\"'(]*[A-Za-z]+(?:['-][a-z]+)*[\"')]*[.,:;?!]*")


def asserted(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each sentence that a test asserts: in an assert, in `match=`,
    or in the column of a parameter that is asserted by its name. What the test itself has given as
    input, such as a transcript, is no message."""
    tree = ast.parse(file.read_text("utf-8"))
    expected = {constant for node in _expectations(tree) for constant in _texts(node)}
    given = " ".join(constant.value for constant in _texts(tree) if constant not in expected)
    found = {
        (constant.lineno, constant.value)
        for constant in expected
        if is_sentence(constant.value) and constant.value not in given
    }
    yield from sorted(found)


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def in_messages(text: str, messages: str) -> bool:
    """Return whether some `SHARED` words of a text follow one another in the messages too; other
    sentences are data, such as transcripts."""
    return bool(_sequences(text) & _sequences(messages))


def _sequences(text: str) -> set[tuple[str, ...]]:
    """Return all `SHARED` words in a row of each line."""
    found = set()
    for line in text.splitlines():
        words = [word.strip("\"'().,:;?!") for word in line.split()]
        found |= set(zip(*(words[start:] for start in range(SHARED)), strict=False))
    return found


def is_sentence(text: str) -> bool:
    """Return whether more than `LONGEST` plain words follow one another."""
    longest = run = 0
    for part in re.sub(r"\\(.)", r"\1", text).split():
        run = run + 1 if WORD.fullmatch(part) else 0
        longest = max(longest, run)
    return longest > LONGEST


def _expectations(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield from _compared(node.test)
        elif isinstance(node, ast.keyword) and node.arg == "match":
            yield node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = _expected_names(node)
            for decorator in node.decorator_list:
                yield from _columns(decorator, names)


def _compared(test: ast.AST) -> Iterator[ast.AST]:
    """Yield what an assert compares, but not the arguments of calls, which are input."""
    if isinstance(test, ast.Call):
        if isinstance(test.func, ast.Attribute):
            if test.func.attr in ("startswith", "endswith", "count"):
                yield from test.args
            yield from _compared(test.func.value)
        return
    if isinstance(test, ast.Constant):
        yield test
    for child in ast.iter_child_nodes(test):
        yield from _compared(child)


def _expected_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the parameters that the function matches, or finds in something, and gives to no call
    but those that compare."""
    found, given = set[str](), set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _called(node) not in ("startswith", "endswith"):
            given |= {name for one in node.args for name in _names(one)}
        if isinstance(node, ast.keyword) and node.arg == "match":
            found |= _names(node.value)
        elif isinstance(node, ast.Assert):
            for compared in ast.walk(node.test):
                if isinstance(compared, ast.Compare) and isinstance(
                    compared.ops[0], ast.In | ast.Eq
                ):
                    found |= _names(compared.left) | _names(compared.comparators[0])
                if (
                    isinstance(compared, ast.Call)
                    and isinstance(compared.func, ast.Attribute)
                    and compared.func.attr in ("startswith", "endswith")
                ):
                    found |= {name for one in compared.args for name in _names(one)}
    return found - given


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Call):
        return set()
    found = {node.id} if isinstance(node, ast.Name) else set()
    return found.union(*(_names(child) for child in ast.iter_child_nodes(node)))


def _columns(decorator: ast.expr, names: set[str]) -> Iterator[ast.AST]:
    """Yield the values of those parameters in a table of `parametrize`."""
    if not (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "parametrize"
    ):
        return
    heading = ast.literal_eval(decorator.args[0])
    heading = [heading] if isinstance(heading, str) else list(heading)
    rows = decorator.args[1]
    if not isinstance(rows, ast.List | ast.Tuple):
        return
    for row in rows.elts:
        values = row.args if isinstance(row, ast.Call) else getattr(row, "elts", [row])
        values = [row] if len(heading) == 1 else values
        yield from (value for name, value in zip(heading, values, strict=False) if name in names)


SNAPSHOT = TESTS / "unit" / "messages.snapshot"
PACKAGES = ("runtime", "conversion", "models", "export", "server", "cli")


def rendered() -> str:
    """Return the help of every command and option, and every sentence in the code of each package:
    errors, notes and lines of logs, with what they fill in as `{…}`."""
    lines = ["[help]"]
    for name, command in commands(get_command(app), "kyutai-onnx"):
        lines.append(f"{name}: {one_line(command.help or '')}")
        for parameter in command.params:
            text = one_line(getattr(parameter, "help", None) or "")
            lines.append(f"{name} {'/'.join(parameter.opts)}: {text}")
    for package in PACKAGES:
        found = {text for file in (ROOT / package).rglob("*.py") for text in sentences(file)}
        lines += ["", f"[{package}]", *sorted(found)]
    return "\n".join(lines) + "\n"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield a command and all below it, with their names."""
    yield name, command
    if isinstance(command, TyperGroup):
        context = Context(command)
        for each in command.list_commands(context):
            yield from commands(command.get_command(context, each), f"{name} {each}")


def sentences(file: Path) -> Iterator[str]:
    """Yield the literals of a file that are sentences, or are raised, but no docstrings and no help
    of options, which `rendered` takes from the commands."""
    tree = ast.parse(file.read_text("utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in ("Option", "Argument", "Typer"):
            skipped |= {id(each) for each in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(each) for value in node.values for each in ast.walk(value)}
    raised = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for argument in node.exc.args
    }
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        text = one_line(_text(node))
        if text and (is_sentence(text) or id(node) in raised):
            yield text


def one_line(text: str) -> str:
    return " ".join(text.split())


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = (value.value if isinstance(value, ast.Constant) else "{…}" for value in node.values)
    return "".join(map(str, parts))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
