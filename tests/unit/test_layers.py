"""Who may import whom: each folder knows those below it, and torch stays in `export`."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT

OURS = "kyutai_onnx"
FOLDERS = ("runtime", "conversion", "models", "export", "server", "cli")
BELOW = {
    "runtime": set(),
    "conversion": {"runtime"},
    "models": {"runtime", "conversion"},
    "export": {"runtime", "conversion", "models"},
    "server": {"runtime", "models"},
    "cli": {"runtime", "conversion", "models", "export", "server"},
}
TORCH = {"torch", "onnx", "onnxscript", "onnx_ir", "safetensors", "ml_dtypes", "moshi"}


@dataclass(frozen=True)
class Import:
    """`lazy` if it happens when a function runs, or for type checkers alone."""

    file: str
    module: str
    lazy: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def folder(self) -> str:
        """Of ours, which folder."""
        return self.module.split(".")[1]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, relative ones by their full names."""
    place = [OURS, *path.relative_to(ROOT).parts]
    for node, lazy in statements(ast.parse(path.read_text("utf-8")), lazy=False):
        above = place[: -node.level] if isinstance(node, ast.ImportFrom) and node.level else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        else:
            modules = [name.name for name in node.names]
        for module in modules:
            yield Import("/".join(place[1:]), ".".join([*above, module]), lazy)


def statements(tree: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy
        else:
            typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(node, lazy=lazy or typing or later)


@cache
def imports(folder: str) -> list[Import]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    return [found for path in files for found in imports_of(path)]


def foreign(folder: str) -> list[Import]:
    """Imports of what is neither ours nor Python's."""
    known = {OURS, *sys.stdlib_module_names}
    return [found for found in imports(folder) if found.package not in known]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_those_below_it_alone(folder: str) -> None:
    ours = [found for found in imports(folder) if found.package == OURS]
    assert len(ours) > 5
    assert [found for found in ours if found.folder not in {folder, *BELOW[folder]}] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_files_of_a_folder_import_one_another_in_a_circle(folder: str) -> None:
    """Imports for type checkers and those in functions count too."""
    needed = relative_imports(folder)
    while ends := {file for file, needs in needed.items() if not needs & needed.keys()}:
        needed = {file: needs for file, needs in needed.items() if file not in ends}
    while begins := needed.keys() - set().union(*needed.values()):
        needed = {file: needs for file, needs in needed.items() if file not in begins}
    assert {file.relative_to(ROOT).as_posix() for file in needed} == set()


def relative_imports(folder: str) -> dict[Path, set[Path]]:
    """For each file of a folder those of the same folder that it imports anywhere."""
    found: dict[Path, set[Path]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        found[path] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                names = [base / name.name for name in node.names]
                found[path] |= {file for name in names for file in files_of(name) or files_of(base)}
    return {path: needs & found.keys() - {path} for path, needs in found.items()}


def files_of(module: Path) -> list[Path]:
    return [file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()]


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "tests", "training"])
def test_what_programs_import_of_the_repository_is_there(folder: str) -> None:
    """Much of it needs packages, weights or hours, so that no test runs it."""
    taken = [name for path in (ROOT / folder).rglob("*.py") for name in names_taken(path)]
    assert len(taken) > 5
    assert [f"{file}: {base}.{name}" for file, base, name in taken if not has(base, name)] == []


def names_taken(path: Path) -> Iterator[tuple[str, Path, str]]:
    """Each name that a file imports from a module of this repository: the file, module, name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        first, *parts = (node.module or "").split(".")
        if node.level:
            base = path.parents[node.level - 1].joinpath(first, *parts)
        elif first in ("benchmarks", "examples", "training", "support", OURS) and parts:
            top = {"support": ROOT / "tests" / "support", OURS: ROOT}.get(first, ROOT / first)
            base = top.joinpath(*parts)
        else:
            continue
        for name in node.names:
            yield path.relative_to(ROOT).as_posix(), base.relative_to(ROOT), name.name


def has(module: Path, name: str) -> bool:
    """Whether a module is there, and has something or a module of this name."""
    return bool(files_of(ROOT / module / name)) or name in names_of(module)


@cache
def names_of(module: Path) -> set[str | None]:
    nodes = [n for f in files_of(ROOT / module) for n in ast.walk(ast.parse(f.read_text("utf-8")))]
    names = {getattr(node, "name", getattr(node, "id", None)) for node in nodes}
    return names | {node.asname for node in nodes if isinstance(node, ast.alias)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_class_name_stands_once_in_a_folder(folder: str) -> None:
    names = Counter(
        node.name
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 5
    assert [name for name, count in names.items() if count > 1] == []


def test_the_runtime_needs_few_packages() -> None:
    allowed = {"numpy", "onnxruntime", "packaging", "soundfile", "soxr"}
    lazily = {"sounddevice"}
    others = [found for found in foreign("runtime") if found.package not in allowed]
    eager = [found for found in others if not (found.lazy and found.package in lazily)]
    assert {(found.file, found.package) for found in eager} == {
        ("runtime/audio/files/media.py", "av"),
        ("runtime/hub.py", "huggingface_hub"),
        ("runtime/tokenizer.py", "sentencepiece"),
    }
    media = [found for found in imports("runtime") if found.module.endswith("audio.files.media")]
    assert len(media) > 0
    assert [found for found in media if not found.lazy] == []
    ours = [found.module for found in imports("runtime") if found.package == OURS]
    assert not {"kyutai_onnx.runtime.hub", "kyutai_onnx.runtime.tokenizer"} & set(ours)


def test_the_models_need_voices_and_the_hub_besides() -> None:
    others = [found for found in foreign("models") if found.package != "numpy"]
    assert {found.package for found in others} == {
        *("defusedxml", "huggingface_hub", "safetensors", "unicode_rbnf")
    }
    assert {found.file for found in others if found.package == "safetensors"} == {
        "models/tts/voices.py"
    }
    assert [found for found in others if not found.lazy] == []


def test_the_hub_is_not_imported_before_it_is_needed() -> None:
    needing = [found for found in imports("models") if found.module.endswith("runtime.hub")]
    assert len(needing) > 0
    assert [found for found in needing if not found.lazy] == []


def test_only_what_runs_a_bundle_in_the_export_imports_models() -> None:
    found = [one for one in imports("export") if one.package == OURS and one.folder == "models"]
    assert len(found) > 0
    running = ("export/verification/", "export/bundle.py")
    assert [one for one in found if not one.file.startswith(running)] == []


def test_conversion_needs_no_torch() -> None:
    """But for two forms of files that are read lazily."""
    lazily = ("conversion/checkpoint/gguf_file.py", "conversion/checkpoint/pickle_file.py")
    others = [found for found in foreign("conversion") if found.file not in lazily]
    assert {found.package for found in others} == {
        *("filelock", "huggingface_hub", "numpy", "safetensors")
    }
    ours = [found for found in imports("conversion") if found.package == OURS]
    forms = [one for one in ours if one.module.endswith(("gguf_file", "pickle_file"))]
    assert len(forms) == 2
    assert [one for one in forms if not one.lazy] == []


def test_commands_import_the_export_when_they_run() -> None:
    ours = [found for found in imports("cli") if found.package == OURS]
    exporting = [found for found in ours if found.folder == "export"]
    assert len(exporting) > 0
    assert [found for found in exporting if not found.lazy] == []


@pytest.mark.parametrize("folder", ["runtime", "models", "cli"])
def test_torch_stays_in_the_export(folder: str) -> None:
    voices = {"safetensors"} if folder == "models" else set()
    assert [found for found in foreign(folder) if found.package in TORCH - voices] == []


WITHOUT_TORCH = """
import sys

BLOCKED = set(sys.argv[1].split(","))


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch could be imported")

import numpy as np
import kyutai_onnx.models

assert "huggingface_hub" not in sys.modules
import kyutai_onnx.cli.main
from kyutai_onnx.models import Mimi, SpeechToText

noise = np.random.default_rng(0).normal(0, 0.05, 24000).astype(np.float32)
stt = SpeechToText.load()
words = list(stt.transcribe(noise))
codes = Mimi.load(stt.bundle).encode(noise)
print(len(codes[0]), codes.min() >= 0, all(word.end >= word.start for word in words))
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
assert not {"sounddevice", "kyutai_onnx.runtime.audio.live"} & set(sys.modules)
"""


def test_everything_but_the_export_works_without_torch() -> None:
    arguments = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, ",".join(sorted(TORCH))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "13 True True\n"
    assert done.stderr == ""


HELP_ALONE = """
import sys
from kyutai_onnx.cli.main import run

assert run(["--help"]) == 0
assert run(["say", "--help"]) == 0
print({"numpy", "onnxruntime", "soundfile", "sentencepiece"} & set(sys.modules), file=sys.stderr)
"""


WHAT_IS_IMPORTED = """
import sys
from kyutai_onnx.cli.main import run
code = run(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""
SAMPLE = ROOT / "models" / "demo" / "samples" / "train.flac"


def test_help_comes_without_what_the_commands_need() -> None:
    arguments = [sys.executable, "-W", "error", "-c", HELP_ALONE]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "set()\n")


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["info", "-q"], set()),
        (["bench", "-q", "--frames", "1"], {"onnxruntime", "soundfile"}),
        (["codec", "encode", "-q", str(SAMPLE), "-"], {"onnxruntime", "soundfile"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_what_it_uses_alone(arguments: list[str], imported: set[str]) -> None:
    command = [sys.executable, "-W", "error", "-c", WHAT_IS_IMPORTED, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0
    known = {"onnxruntime", "soundfile", "sentencepiece", "sounddevice", "huggingface_hub"}
    assert set(done.stderr.decode().split()) & known == imported
