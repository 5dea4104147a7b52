"""The first use of a repository: it is downloaded from a stand-in for the Hub, and converted."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from unittest.mock import Mock

import pytest
from huggingface_hub import constants
from support.commands import Command

pytest.importorskip("torch", reason="the template of a small model is traced")

from support.checkpoints import TEXT_ONLY, fused, random_lm, random_mimi, write_folder
from support.hub_server import HubServer, hub_server
from support.shared import Shared
from support.traces import traced_once
from support.waiting import until

from kyutai_onnx.conversion import first_use
from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.filling import atomic_folder, fill
from kyutai_onnx.conversion.filling.shipped import shipped_template, write_archive
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions
from kyutai_onnx.conversion.filling.template import design_of
from kyutai_onnx.export.plan import make_template
from kyutai_onnx.runtime import hub as hub_client
from kyutai_onnx.runtime.bundle.bundle import Bundle

REPO, SISTER = "kyutai/stt-1b-en_fr", "kyutai/stt-1b-en_fr-candle"
HEADED = TEXT_ONLY | {"extra_heads_num_heads": 4, "extra_heads_dim": 6}
WEIGHTS = "model.safetensors"
BLOCKED = ("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "gguf", "moshi")
PROGRAM = """
import sys
from pathlib import Path

BLOCKED = set(sys.argv[2].split(","))


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from kyutai_onnx.conversion import first_use

find, archive = first_use.shipped_template, Path(sys.argv[1])
first_use.shipped_template = lambda design: find(design, archive)
first_use.PIECE = 10_000
sys.argv = ["kyutai-onnx", *sys.argv[3:]]
from kyutai_onnx.cli.main import main

main()
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> Path:
    """Templates of the small model in int8, without and with pause heads."""
    folder = tmp_path_factory.mktemp("templates")
    templates = {}
    for name, values in (("plain", TEXT_ONLY), ("headed", HEADED)):
        checkpoint = open_checkpoint(str(write_folder(folder / name, values)))
        design = design_of(checkpoint, TARGETS["cpu"], Precisions("int8"))
        with traced_once(shared):
            templates[design.key] = make_template(design)
    write_archive(folder / "templates.tar.xz", templates, {}, sample="")
    return folder / "templates.tar.xz"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """The model without its pause heads, and its sister with them."""
    headed, mimi = random_lm(HEADED), fused(random_mimi())
    plain = {name: value for name, value in headed.items() if not name.startswith("extra_heads.")}
    folder = tmp_path / "repositories"
    write_folder(folder / REPO, TEXT_ONLY, fused(plain), mimi)
    write_folder(folder / SISTER, TEXT_ONLY, fused(headed), mimi)
    with hub_server(folder) as served:
        yield served


@pytest.fixture
def start(archive: Path, hub: HubServer, tmp_path: Path) -> Iterator[Start]:
    """Starts the command in a process that has no torch and no onnx."""
    running = []

    def begin(*arguments: object, **env: str) -> "subprocess.Popen[str]":
        program = [sys.executable, "-c", PROGRAM, str(archive), ",".join(BLOCKED)]
        begun = subprocess.Popen(
            [*program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | hub.environment(tmp_path) | env,
        )
        running.append(begun)
        return begun

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, list[str]]:
    """The exit code, the output, and the lines of stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err.splitlines()


def bundles(home: Path) -> list[Path]:
    return sorted((home / "cache" / "bundles").glob("[!.]*"))


def downloads(home: Path) -> list[Path]:
    folder = home / "cache" / "downloads"
    return [path for path in folder.glob("*") if path.suffix != ".lock"]


def test_a_repository_is_downloaded_and_converted_at_its_first_use(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    code, out, (first, *others) = ended(start("info", REPO, "--json"))
    assert (code, others) == (0, [])
    (made,) = bundles(tmp_path)
    assert REPO in first
    assert "int8" in first
    assert str(made) in first
    manifest = json.loads(out)
    assert manifest["lm"]["extra_heads"] == 4
    assert Bundle.open(made).manifest.source.repository == REPO
    assert downloads(tmp_path) == []
    weights = (hub.folder / REPO / WEIGHTS).stat().st_size
    read = [count for repo, name, _, count in hub.sent if (repo, name) == (SISTER, WEIGHTS)]
    assert 0 < sum(read) < weights
    sent = len(hub.sent)
    code, again, lines = ended(start("info", REPO, "--json", "-q"))
    assert (code, again, lines) == (0, out, [])
    assert len(hub.sent) == sent


def test_without_its_sister_a_model_has_no_pauses(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    hub.gated.add(SISTER)
    code, out, lines = ended(start("info", REPO, "--json"))
    assert code == 0
    assert "pause" in lines[0]
    assert SISTER in lines[0]
    assert json.loads(out)["lm"]["extra_heads"] == 0


def test_a_gated_repository_asks_for_a_login(start: Start, hub: HubServer, tmp_path: Path) -> None:
    hub.gated.add(REPO)
    code, _, (line,) = ended(start("info", REPO))
    assert code == 3
    assert "hf auth login" in line
    assert bundles(tmp_path) == []


def test_what_is_no_repository_is_one_line(start: Start) -> None:
    code, _, (line,) = ended(start("info", "nobody/nothing"))
    assert code == 3
    assert "nobody/nothing" in line


def test_a_repository_that_was_mended_is_read_anew(here: Command, hub: HubServer) -> None:
    config = hub.folder / REPO / "config.json"
    whole = config.read_text("utf-8")
    config.write_text('{"model_type": "stt"}', "utf-8")
    assert here("info", REPO, "-q").code == 3
    config.write_text(whole, "utf-8")
    hub.commits += 1
    hub.hash_of.cache_clear()
    assert here("info", REPO, "-q").code == 0


@pytest.mark.parametrize(("option", "env"), [(["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})])
def test_offline_nothing_is_asked_of_the_hub(
    start: Start, hub: HubServer, option: list[str], env: dict[str, str]
) -> None:
    code, _, (line,) = ended(start("info", REPO, *option, **env))
    assert code == 3
    assert [*option, *env][0] in line
    assert hub.sent == []


def test_a_model_of_another_family_is_refused_before_its_weights_come(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    code, _, (line,) = ended(start("say", "one", "--model", REPO, "-o", tmp_path / "out.wav"))
    assert code == 3
    assert "stt" in line
    weights = (hub.folder / REPO / WEIGHTS).stat().st_size
    assert hub.bytes_of(WEIGHTS) < weights


def test_tensors_that_do_not_fit_are_listed_before_they_come(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    lm = random_lm(TEXT_ONLY)
    lm["strange.weight"] = lm.pop("out_norm.alpha")
    write_folder(hub.folder / REPO, TEXT_ONLY, fused(lm))
    code, _, (line,) = ended(start("info", REPO))
    assert code == 3
    assert "out_norm" in line or "strange.weight" in line
    assert (REPO, WEIGHTS) not in {
        (repo, name) for repo, name, _, count in hub.sent if count > 100_000
    }
    assert bundles(tmp_path) == []


def test_a_configuration_without_a_template_names_the_extra(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    code, _, lines = ended(start("info", REPO, "--precision", "fp32"))
    assert code == 2
    assert "export" in lines[-1]
    assert bundles(tmp_path) == []


def test_a_download_that_breaks_off_is_resumed(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    hub.cut[REPO, WEIGHTS] = 25_000
    code, _, lines = ended(start("info", REPO))
    assert code == 3
    assert "resume" in lines[-1]
    assert bundles(tmp_path) == []
    hub.cut.clear()
    hub.sent.clear()
    code, _, _ = ended(start("info", REPO, "-q"))
    assert code == 0
    sent = [first for repo, name, first, _ in hub.sent if (repo, name) == (REPO, WEIGHTS)]
    assert 10_000 not in sent
    assert 20_000 in sent


def test_a_killed_one_leaves_nothing_that_loads_and_is_resumed(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    hub.held[REPO, WEIGHTS] = 25_000
    process = start("info", REPO)
    until(hub.holding.is_set)
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert bundles(tmp_path) == []
    hub.release.set()
    assert ended(start("info", REPO, "-q"))[0] == 0
    assert len(bundles(tmp_path)) == 1
    assert downloads(tmp_path) == []


def test_of_two_processes_the_second_waits_and_says_so(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    hub.held[REPO, WEIGHTS] = 25_000
    one = start("info", REPO, "--json")
    until(hub.holding.is_set)
    other = start("info", REPO, "--json")
    assert other.stderr is not None
    line = other.stderr.readline()
    assert "waiting" in line
    hub.release.set()
    first, second = ended(one), ended(other)
    assert (first[0], second[0]) == (0, 0)
    assert first[1] == second[1]
    assert len(bundles(tmp_path)) == 1


@pytest.fixture
def here(
    hub: HubServer,
    archive: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Runs a command in this process, where a fault can be put at any place."""
    for name, value in hub.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    for name, setting in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, setting)
    monkeypatch.setattr(hub_client, "is_reachable", lambda: True)
    monkeypatch.setattr(first_use, "is_reachable", lambda: True)
    monkeypatch.setattr(first_use, "PIECE", 10_000)
    monkeypatch.setattr(
        first_use, "shipped_template", lambda design: shipped_template(design, archive)
    )
    return command


def test_a_disk_without_space_is_found_before_the_download(
    here: Command, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=first_use.MARGIN))
    done = here("info", REPO)
    assert done.code == 1
    assert "50.0 MB are free" in done.error
    assert "KYUTAI_ONNX_CACHE" in done.error
    assert hub.bytes_of(WEIGHTS) < 20_000
    assert bundles(tmp_path) == []


@pytest.mark.parametrize("where", ["download", "conversion"])
def test_a_disk_that_fills_up_on_the_way_is_one_line(
    here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    owner, name = {"download": (first_use, "_read"), "conversion": (fill, "_content")}[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, Mock(side_effect=full))
        done = here("info", REPO, "-q")
    assert done.code == 1
    assert "KYUTAI_ONNX_CACHE" in done.error
    assert bundles(tmp_path) == []
    assert here("info", REPO, "-q").code == 0


def test_a_damaged_download_is_named_and_downloaded_again(
    here: Command, hub: HubServer, tmp_path: Path
) -> None:
    hub.damaged.add((REPO, WEIGHTS))
    done = here("info", REPO, "-q")
    assert done.code == 3
    assert f"{WEIGHTS} of {REPO}" in done.error
    assert bundles(tmp_path) == []
    assert list((tmp_path / "cache").rglob(f"{WEIGHTS}*")) == []
    hub.damaged.clear()
    assert here("info", REPO, "-q").code == 0


def test_a_tensor_of_another_shape_is_found_before_the_download(
    here: Command, hub: HubServer, tmp_path: Path
) -> None:
    lm = random_lm(TEXT_ONLY)
    lm["out_norm.alpha"] = lm["out_norm.alpha"][..., :-1].contiguous()
    write_folder(hub.folder / REPO, TEXT_ONLY, fused(lm))
    done = here("info", REPO, "-q")
    assert done.code == 3
    assert "out_norm" in done.error
    assert hub.bytes_of(WEIGHTS) < 20_000
    assert bundles(tmp_path) == []


POINTS = {
    "headers": (hub_client.RemoteFile, "read", 1),
    "a file": (first_use, "_read", 4),
    "before a file has its name": (first_use, "sha256", 1),
    "between files": (first_use._Downloads, "_complete", 2),
    "conversion": (fill, "_content", 3),
    "before the manifest": (fill, "write_json", 1),
    "before the bundle has its name": (atomic_folder, "_replace", 1),
}
"""Functions, and at which of their calls the signal comes."""


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupt_leaves_nothing_that_loads_and_is_resumed(
    here: Command,
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    owner, name, call = POINTS[point]
    function, calls = getattr(owner, name), itertools.count(1)

    def interrupted(*arguments: object) -> object:
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        assert here("info", REPO, "-q").code == 130
    assert bundles(tmp_path) == []
    assert here("info", REPO, "--offline").code == 3
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob(f"{WEIGHTS}*"))
    hub.sent.clear()
    assert here("info", REPO, "-q").code == 0
    again = [first for repo, file, first, _ in hub.sent if (repo, file) == (REPO, WEIGHTS)]
    assert min((first for first in again if first >= 10_000), default=kept) >= kept
    assert len(bundles(tmp_path)) == 1
    assert downloads(tmp_path) == []


def test_what_is_left_of_a_removed_bundle_gives_way_to_a_new_one(
    here: Command, tmp_path: Path
) -> None:
    assert here("info", REPO, "-q").code == 0
    (made,) = bundles(tmp_path)
    (made / "bundle.json").unlink()
    assert here("info", REPO, "-q").code == 0
    assert Bundle.open(made).manifest.source.repository == REPO


def test_a_bundle_of_an_older_version_is_refused_until_it_is_removed(
    here: Command, hub: HubServer, tmp_path: Path
) -> None:
    assert here("info", REPO, "-q").code == 0
    (made,) = bundles(tmp_path)
    manifest = json.loads((made / "bundle.json").read_text("utf-8"))
    (made / "bundle.json").write_text(json.dumps(manifest | {"format_version": 0}), "utf-8")
    hub.sent.clear()
    for precision in ([], ["--precision", "int8"]):
        done = here("info", REPO, "-q", *precision)
        assert done.code == 3
        assert f"models --remove {made.name}" in done.error
    assert hub.sent == []
    assert here("models", "--remove", made.name).code == 0
    assert here("info", REPO, "-q").code == 0


def test_a_cache_that_cannot_be_written_is_one_line(
    here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "file" / "cache"))
    done = here("info", REPO, "-q")
    assert done.code == 1
    assert "KYUTAI_ONNX_CACHE" in done.error


def test_what_must_not_be_used_commercially_says_so(
    here: Command, hub: HubServer, tmp_path: Path
) -> None:
    repo = "kyutai/moshika-rl-seamless"
    write_folder(hub.folder / repo, TEXT_ONLY)
    hub.gated.add(repo)
    done = here("info", repo)
    assert done.code == 3
    assert "hf auth login" in done.error
    hub.gated.clear()
    done = here("info", repo)
    assert done.code == 0
    assert "CC BY-NC 4.0" in done.err.splitlines()[0]
    (made,) = bundles(tmp_path)
    assert "license: cc-by-nc-4.0" in (made / "README.md").read_text("utf-8")
    assert "commercially" in (made / "LICENSE").read_text("utf-8")


def test_a_server_says_how_far_its_models_are_and_then_serves(
    start: Start, hub: HubServer, tmp_path: Path
) -> None:
    hub.held[REPO, WEIGHTS] = 25_000
    process = start("serve", "--model", REPO, "--port", "0")
    assert process.stderr is not None
    line, *_, shown = iter_until(process.stderr, "until it serves")
    assert REPO in line
    url = next(word for word in shown.split() if word.startswith("http"))
    until(hub.holding.is_set)
    status, headers, body = asked(f"{url}/ready")
    report = json.loads(body)
    assert (status, report["status"], report["models"]) == (503, "preparing", [])
    assert 0 <= report["bytes"] < report["total"]
    assert int(headers["Retry-After"]) > 0
    assert asked(f"{url}/health")[0] == 200
    assert asked(f"{url}/api/asr-streaming")[0] == 503
    status, headers, page = asked(f"{url}/", Accept="text/html")
    assert (status, headers.get_content_type()) == (503, "text/html")
    assert f'max="{report["total"]}"' in page
    hub.release.set()
    lines = list(iter_until(process.stderr, "serving "))
    assert len(lines) == 1
    assert url in lines[-1]
    (made,) = bundles(tmp_path)
    assert str(made) in line
    status, _, body = asked(f"{url}/ready")
    report = json.loads(body)
    assert (status, report["status"]) == (200, "ready")
    assert [model["slots"] for model in report["models"]] == [4]
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_a_server_that_prepares_ends_at_once_when_asked_to(start: Start, hub: HubServer) -> None:
    hub.held[REPO, WEIGHTS] = 25_000
    process = start("serve", "--model", REPO, "--port", "0")
    assert process.stderr is not None
    list(iter_until(process.stderr, "until it serves"))
    until(hub.holding.is_set)
    process.send_signal(signal.SIGINT)
    code, _, lines = ended(process)
    assert (code, lines) == (130, [])


def asked(url: str, **headers: str) -> tuple[int, Message, str]:
    """The status, the headers and the body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers, answer.read().decode()


def iter_until(stream: Iterable[str], start: str) -> Iterator[str]:
    """Lines of a process, to the first that starts so."""
    for line in stream:
        yield line.strip()
        if line.startswith(start):
            return
