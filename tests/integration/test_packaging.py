"""What is published: the wheel holds the packages and their data and nothing else, its metadata
says what they need, the commands that the pages show exist, and the site builds."""

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from importlib import import_module, metadata
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.pages import BLOCKS, PAGES
from support.paths import ROOT
from typer.core import TyperGroup
from typer.main import get_command

from kyutai_onnx import models
from kyutai_onnx.cli.main import app
from kyutai_onnx.runtime.providers.provider import PROVIDERS

FOLDERS = ("cli", "conversion", "export", "models", "runtime", "server")
EXTRAS = {"audio", "cpu", "cuda", "dev", "directml", "evaluate", "export", "serve", "webgpu"}
LARGEST_FILE = 5_000_000
LARGEST_BUNDLE = 8_000_000
LARGEST_WHEEL = 20_000_000
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.2, which Debian 12 has, knows no filters yet."""

BACK_END = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, source: Path, out: Path) -> tuple[Path, str]:
    """An `sdist` or `wheel` of a folder, and what the back end said meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", BACK_END, f"build_{kind}", str(out)],
        cwd=source,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1], done.stdout + done.stderr


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every file of the repository, and no stray one."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a git checkout says which files are the repository's")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel, built from the source archive as for a release, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("packaging")
    for name in tracked:
        copy = folder / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    archive, said = build("sdist", folder / "tree", folder)
    shutil.unpack_archive(archive, folder / "source", **SAFELY)
    (source,) = (folder / "source").iterdir()
    wheel, more = build("wheel", source, folder)
    return wheel, said + more


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, str]) -> Iterator[ZipFile]:
    with ZipFile(built[0]) as opened:
        yield opened


@pytest.fixture(scope="module")
def about(wheel: ZipFile) -> Message:
    return message_from_bytes(wheel.read(f"{records(wheel)}/METADATA"))


def records(wheel: ZipFile) -> PurePosixPath:
    """The folder of the wheel's metadata."""
    (folder,) = {PurePosixPath(name).parts[0] for name in wheel.namelist() if ".dist-info/" in name}
    return PurePosixPath(folder)


def requirements(about: Message) -> list[Requirement]:
    return [Requirement(line) for line in about.get_all("Requires-Dist", [])]


def base(about: Message) -> set[str]:
    """What is installed when no extra is asked for."""
    return {
        found.name
        for found in requirements(about)
        if found.marker is None or found.marker.evaluate({"extra": ""})
    }


def test_the_wheel_holds_its_packages_whole_and_nothing_else(
    wheel: ZipFile, tracked: list[str]
) -> None:
    ours = {f"kyutai_onnx/{name}" for name in tracked if name.split("/")[0] in FOLDERS}
    ours |= {f"kyutai_onnx/{Path(name).name}" for name in tracked if name.startswith("package/")}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert sorted(held ^ ours) == []


@pytest.mark.parametrize(
    "file",
    [
        *(f"{folder}/py.typed" for folder in FOLDERS),
        "__init__.py",
        "py.typed",
        "cli/main.py",
        "cli/output/transcript.html",
        "conversion/filling/templates.tar.xz",
        "export/graphs/operators/cpu.json",
        "export/graphs/operators/schemas.json",
        "models/demo/stt/bundle.json",
        "models/demo/stt/tokenizer.model",
    ],
)
def test_the_wheel_holds(file: str, wheel: ZipFile) -> None:
    assert f"kyutai_onnx/{file}" in wheel.namelist()


def test_recordings_ship_with_the_demo(wheel: ZipFile) -> None:
    samples = [name for name in wheel.namelist() if "/demo/samples/" in name]
    assert {"manifest.jsonl"} < {PurePosixPath(name).name for name in samples}


def test_no_file_of_the_wheel_is_large(wheel: ZipFile) -> None:
    large = {f.filename: f.file_size for f in wheel.infolist() if f.file_size > LARGEST_FILE}
    assert large == {}


def test_an_embedded_bundle_is_under_eight_megabytes(wheel: ZipFile) -> None:
    sizes: dict[PurePosixPath, int] = {}
    for file in wheel.infolist():
        path = PurePosixPath(file.filename)
        if path.is_relative_to("kyutai_onnx/models/demo"):
            sizes[path.parent] = sizes.get(path.parent, 0) + file.file_size
    assert sizes
    assert {str(folder): n for folder, n in sizes.items() if n > LARGEST_BUNDLE} == {}


def test_the_wheel_is_small_and_holds_no_graph_or_weights_twice(wheel: ZipFile) -> None:
    assert sum(file.compress_size for file in wheel.infolist()) < LARGEST_WHEEL
    hashes = [file.CRC for file in wheel.infolist() if file.filename.endswith((".data", ".onnx"))]
    assert len(hashes) == len(set(hashes)) > 0


def test_the_build_overlooks_no_folder(built: tuple[Path, str]) -> None:
    assert "Package would be ignored" not in built[1]


def test_the_command_is_declared_and_is_there(wheel: ZipFile) -> None:
    lines = wheel.read(f"{records(wheel)}/entry_points.txt").decode().splitlines()
    assert lines[:2] == ["[console_scripts]", "kyutai-onnx = kyutai_onnx.cli.main:main"]
    assert callable(import_module("kyutai_onnx.cli.main").main)


def test_the_licences_are_in_the_wheel(wheel: ZipFile) -> None:
    for name in ("LICENSE", "NOTICE"):
        assert wheel.read(f"{records(wheel)}/licenses/{name}") == (ROOT / name).read_bytes()


def test_the_version_is_that_of_the_installed_package(about: Message) -> None:
    assert about["Version"] == metadata.version("kyutai-onnx")


def test_neither_onnxruntime_nor_torch_comes_unasked(about: Message) -> None:
    assert {"numpy", "soxr", "sentencepiece"} <= base(about)
    assert [name for name in base(about) if name.startswith(("onnx", "torch"))] == []


def test_the_pages_say_why_each_dependency_is_needed(about: Message) -> None:
    page = (ROOT / "docs" / "development.md").read_text("utf-8")
    section = page.partition("## Dependencies\n")[2].partition("\n## ")[0]
    assert [name for name in base(about) if f"\n| `{name}`" not in section] == []


def test_every_extra_is_there(about: Message) -> None:
    extras = set(about.get_all("Provides-Extra", []))
    assert extras >= EXTRAS
    assert extras >= {provider.extra for provider in PROVIDERS.values()}


def test_an_extra_brings_no_second_onnxruntime(about: Message) -> None:
    for extra in EXTRAS:
        asked = [r for r in requirements(about) if f'extra == "{extra}"' in str(r.marker)]
        assert asked, f"{extra} brings nothing"
        shared = [r.name for r in asked if r.name.startswith("onnxruntime")]
        assert len([name for name in shared if "-ep-" not in name]) <= 1


def shown_commands(page: str) -> list[list[str]]:
    """The commands in a page's shell blocks, as words; each of those in a pipe is on its own."""
    commands = []
    for block in BLOCKS:
        for line in block.code.splitlines() if (block.page, block.language) == (page, "sh") else ():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            commands += split(list(words))
    return commands


def split(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("|", "&&", "||", ";"):
            parts.append([])
        elif parts[-1] or not re.match(r"\w+=", word):
            parts[-1].append(word)
    return [part for part in parts if part]


COMMANDS = {shlex.join(words): words for page in PAGES for words in shown_commands(page)}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_a_page_shows_exists(line: str, about: Message) -> None:
    program, *words = COMMANDS[line]
    program = PurePosixPath(program).name
    if program == "kyutai-onnx":
        check_own(words)
    elif program in ("sh", "bash", "python", "pytest"):
        check_scripts(words)
    asked = {extra for extras in re.findall(r"\[([\w,]+)\]", line) for extra in extras.split(",")}
    assert asked <= set(about.get_all("Provides-Extra", []))


def check_own(words: list[str]) -> None:
    """A subcommand and its options, as the parser knows them."""
    command: Any = get_command(app)
    while isinstance(command, TyperGroup) and words:
        inner = command.get_command(command.context_class(command), words[0])
        if inner is None:
            break
        command = inner
        words.pop(0)
    known = {name for p in command.params for name in [*p.opts, *p.secondary_opts]} | {"--help"}
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert not isinstance(command, TyperGroup) or used, f"no such command: {words}"
    assert used <= known


def check_scripts(words: list[str]) -> None:
    """Scripts and folders by their path, modules of ours by their name."""
    for before, word in zip(["", *words], words, strict=False):
        if word.endswith((".py", ".sh")) or word.startswith(("tests/", "benchmarks/")):
            assert (ROOT / word).exists()
        elif before == "-m" and (ROOT / word.split(".")[0]).is_dir():
            module = ROOT / word.replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_the_readme_shows_how_to_run_and_to_test() -> None:
    shown = shown_commands("README.md")
    assert ["sh", "tests/run.sh"] in shown
    assert "kyutai-onnx" in {command[0] for command in shown}


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_get_no_rights_by_default(workflow: Path) -> None:
    text = workflow.read_text("utf-8")
    assert "\npermissions: {}\n" in text
    actions = re.findall(r"uses: (?!\./)(.+)", text)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", action)


@pytest.mark.parametrize("package", ["torch", "moshi"])
def test_hosted_and_local_tests_take_the_same_release(package: str) -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "tests" / "run.sh", *WORKFLOWS)]
    releases = {release for text in texts for release in re.findall(rf"{package}==([\d.]+)", text)}
    assert len(releases) == 1


def test_every_requirement_is_pinned_to_a_release_that_it_admits() -> None:
    lines = (ROOT / "tests" / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    installed = ("cpu", "webgpu", "audio", "serve", "export", "dev")
    required = [*project["dependencies"], *(need for extra in installed for need in extras[extra])]
    for requirement in map(Requirement, [*required, "pip", "moshi==0.2.13", "torch==2.13.0"]):
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), (str(requirement), pinned)


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout) == (0, "")
    assert [line for line in built.stderr.splitlines() if line.startswith("WARNING")] == []
    page = (tmp_path / "site" / "api" / "index.html").read_text("utf-8")
    assert [name for name in models.__all__ if f'id="kyutai_onnx.models.{name}"' not in page] == []
