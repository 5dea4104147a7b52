"""Bundles are published to a stand-in for the Hub, and used from there by `hf://`."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bundles import copy_demo
from support.commands import Result, run_apart
from support.hub_server import HubServer, hub_server

REPO = "me/model"
Run = Callable[..., Result]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    (tmp_path / "repositories").mkdir()
    with hub_server(tmp_path / "repositories") as served:
        yield served


@pytest.fixture
def run(hub: HubServer, tmp_path: Path) -> Run:
    """Runs a command as a user who has logged in."""

    def begin(*arguments: object, **env: str) -> Result:
        given = hub.environment(tmp_path) | {"HF_TOKEN": "hf_secret"} | env
        return run_apart(*arguments, env=given)

    return begin


def bundle(folder: Path, **changes: object) -> Path:
    return copy_demo(folder, lambda manifest: manifest.update(changes))


def error(done: Result) -> str:
    """The last line on stderr, after notes of downloads."""
    assert done.err.count("error: ") == 1, done.err
    return done.err.splitlines()[-1].removeprefix("error: ")


def rows(done: Result) -> list[list[str]]:
    assert done.code == 0, done.err
    return [line.split("\t") for line in done.out.splitlines()]


def files_of(hub: HubServer) -> set[str]:
    folder = hub.folder / REPO
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def index_of(hub: HubServer) -> dict[str, dict[str, object]]:
    index = json.loads((hub.folder / REPO / "variants.json").read_text("utf-8"))
    return {variant["folder"]: variant for variant in index["variants"]}


def test_without_push_nothing_is_uploaded(run: Run, hub: HubServer, tmp_path: Path) -> None:
    done = run("publish", bundle(tmp_path / "one"), REPO, HF_TOKEN="")
    found = rows(done)
    assert ["repository", REPO, "new"] in found
    assert ["variant", "cpu-int8", "new"] in found
    (text,) = [row[1] for row in found if row[0] == "license"]
    assert "other" in text
    assert "stt-demo-en" in text
    uploaded = {row[1] for row in found if row[0] == "upload"}
    assert {"cpu-int8/bundle.json", "cpu-int8/LICENSE", "variants.json", "README.md"} <= uploaded
    assert [row[1].partition(" ")[0] for row in found if row[0] == "index"] == ["cpu-int8"]
    assert "--push" in done.err
    assert files_of(hub) == set()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("kyutai/moshika-rl-seamless", "cc-by-nc-4.0"),
        ("kyutai/hibiki-zero-3b-pytorch-bf16", "cc-by-nc-sa-4.0"),
    ],
)
def test_a_license_that_forbids_commerce_is_stated(
    source: str, name: str, run: Run, tmp_path: Path
) -> None:
    path = bundle(tmp_path / "one", source={"repository": source, "files": {}})
    (text,) = [row[1] for row in rows(run("publish", path, REPO)) if row[0] == "license"]
    assert text.startswith(f"{name}:")
    assert "non-commercial" in text


def test_a_published_bundle_is_used(run: Run, hub: HubServer, tmp_path: Path) -> None:
    path = bundle(tmp_path / "one")
    done = run("publish", path, REPO, "--push")
    assert (done.code, done.out) == (0, f"hf://{REPO}\n"), done.err
    for file in path.iterdir():
        assert (hub.folder / REPO / "cpu-int8" / file.name).read_bytes() == file.read_bytes()
    card = (hub.folder / REPO / "README.md").read_text("utf-8")
    assert f"hf://{REPO}" in card
    assert "cpu-int8" in card
    found = run("info", f"hf://{REPO}", "--json")
    assert json.loads(found.out)["name"] == "stt-demo-en"
    assert "cpu-int8" in found.err
    again = run("publish", path, REPO)
    assert ["variant", "cpu-int8", "unchanged"] in rows(again)


def test_a_second_variant_is_chosen_by_its_precision(
    run: Run, hub: HubServer, tmp_path: Path
) -> None:
    for name, precision in (("one", "int8"), ("two", "fp16")):
        path = bundle(tmp_path / name, precision=precision)
        assert run("publish", path, REPO, "--push").code == 0
    assert list(index_of(hub)) == ["cpu-fp16", "cpu-int8"]
    for options, precision in (([], "int8"), (["--precision", "fp16"], "fp16")):
        hub.sent.clear()
        done = run("info", f"hf://{REPO}", "--json", *options)
        assert json.loads(done.out)["precision"] == precision
        folders = {name.partition("/")[0] for _, name, _, _ in hub.sent if "/" in name}
        assert folders == {f"cpu-{precision}"}
    offline = run("info", f"hf://{REPO}", "--json", HF_HUB_OFFLINE="1")
    assert json.loads(offline.out)["precision"] == "int8"


def test_offline_a_published_bundle_is_taken_from_the_cache_alone(
    run: Run, hub: HubServer, tmp_path: Path
) -> None:
    assert run("publish", bundle(tmp_path / "one"), REPO, "--push").code == 0
    hub.sent.clear()
    done = run("info", f"hf://{REPO}", "--offline")
    assert done.code == 3
    assert "--offline" in error(done)
    assert hub.sent == []
    assert run("info", f"hf://{REPO}").code == 0
    hub.sent.clear()
    assert run("info", f"hf://{REPO}", "--offline").code == 0
    assert hub.sent == []


def test_a_variant_is_replaced_with_all_its_files(run: Run, hub: HubServer, tmp_path: Path) -> None:
    for name, precision in (("one", "int8"), ("two", "fp16")):
        run("publish", bundle(tmp_path / name, precision=precision), REPO, "--push")
    newer = copy_demo(tmp_path / "three", lambda manifest: manifest["files"].pop("LICENSE"))
    found = rows(run("publish", newer, REPO))
    assert ["variant", "cpu-int8", "replaced"] in found
    assert ["remove", "cpu-int8/LICENSE"] in found
    assert run("publish", newer, REPO, "--push").code == 0
    assert {"cpu-fp16/LICENSE", "cpu-int8/bundle.json"} <= files_of(hub)
    assert "cpu-int8/LICENSE" not in files_of(hub)
    manifest = (newer / "bundle.json").read_bytes()
    assert index_of(hub)["cpu-int8"]["sha256"] == hashlib.sha256(manifest).hexdigest()
    assert list(index_of(hub)) == ["cpu-fp16", "cpu-int8"]


@pytest.mark.parametrize(
    ("options", "named"), [(["--precision", "fp32"], "fp32"), ([], "onnxruntime")]
)
def test_what_fits_nothing_lists_what_there_is(
    run: Run, hub: HubServer, tmp_path: Path, options: list[str], named: str
) -> None:
    newer = bundle(tmp_path / "one", minimum_onnxruntime="99.5")
    assert run("publish", newer, REPO, "--push").code == 0
    done = run("info", f"hf://{REPO}", *options)
    assert done.code == 3
    assert named in error(done)
    assert "cpu-int8" in error(done)
    assert "99.5" in error(done)
    assert {name for _, name, _, _ in hub.sent} == {"variants.json"}


def test_a_model_of_another_family_is_not_downloaded(
    run: Run, hub: HubServer, tmp_path: Path
) -> None:
    assert run("publish", bundle(tmp_path / "one"), REPO, "--push").code == 0
    done = run("say", "one", "--model", f"hf://{REPO}", "-o", tmp_path / "out.wav")
    assert done.code == 3
    assert "stt" in error(done)
    assert {name for _, name, _, _ in hub.sent} == {"variants.json"}


def test_a_repository_of_another_model_is_refused(run: Run, hub: HubServer, tmp_path: Path) -> None:
    assert run("publish", bundle(tmp_path / "one"), REPO, "--push").code == 0
    before = hub.commits
    done = run("publish", bundle(tmp_path / "two", name="another"), REPO, "--push")
    assert done.code == 2
    assert "stt-demo-en" in error(done)
    weights = hub.folder / REPO / "variants.json"
    weights.rename(weights.with_name("model.safetensors"))
    done = run("publish", tmp_path / "one", REPO, "--push")
    assert done.code == 2
    assert "variants.json" in error(done)
    assert hub.commits == before


def test_a_damaged_bundle_is_refused(run: Run, hub: HubServer, tmp_path: Path) -> None:
    path = bundle(tmp_path / "one")
    (path / "tokenizer.model").write_bytes(b"damaged")
    done = run("publish", path, REPO, "--push")
    assert done.code == 3
    assert "tokenizer.model" in error(done)
    assert hub.commits == 0


def test_a_repository_that_changes_meanwhile_is_not_overwritten(
    run: Run, hub: HubServer, tmp_path: Path
) -> None:
    assert run("publish", bundle(tmp_path / "one"), REPO, "--push").code == 0
    before, hub.overtaken = files_of(hub), True
    done = run("publish", bundle(tmp_path / "two", precision="fp16"), REPO, "--push")
    assert done.code == 3
    assert REPO in error(done)
    assert "changed" in error(done)
    assert files_of(hub) == before


def test_an_index_that_leads_elsewhere_is_refused(run: Run, hub: HubServer, tmp_path: Path) -> None:
    assert run("publish", bundle(tmp_path / "one"), REPO, "--push").code == 0
    file = hub.folder / REPO / "variants.json"
    file.write_text(file.read_text("utf-8").replace('"cpu-int8"', '"../cpu-int8"'), "utf-8")
    done = run("info", f"hf://{REPO}")
    assert done.code == 3
    assert "../cpu-int8" in error(done)


@pytest.mark.parametrize(
    ("name", "repo", "env", "code", "named"),
    [
        ("one", REPO, {"HF_TOKEN": ""}, 3, "hf auth login"),
        ("one", "model", {}, 2, "owner/name"),
        ("none", REPO, {}, 3, "none"),
        ("one", REPO, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 3, "no network"),
        ("one", REPO, {"HF_HUB_OFFLINE": "1"}, 3, "HF_HUB_OFFLINE"),
    ],
)
def test_what_cannot_be_published_is_one_line(
    run: Run,
    hub: HubServer,
    tmp_path: Path,
    name: str,
    repo: str,
    env: dict[str, str],
    code: int,
    named: str,
) -> None:
    bundle(tmp_path / "one")
    done = run("publish", tmp_path / name, repo, "--push", **env)
    assert done.code == code
    assert named in error(done)
    assert hub.commits == 0
