"""`info`: what a bundle is, in words and as its manifest."""

import json
from pathlib import Path

from support.bundles import copy_demo, without_heads
from support.commands import Command

from kyutai_onnx.models.resolve import DEMO


def facts(out: str) -> dict[str, str]:
    rows = (line.split("  ", 1) for line in out.splitlines())
    return {name: value.strip() for name, value in rows}


def test_the_facts_of_the_demo(command: Command) -> None:
    manifest = json.loads((DEMO / "stt" / "bundle.json").read_text("utf-8"))
    done = command("info")
    found = facts(done.out)
    assert done.code == 0
    assert "embedded demo" in done.err
    assert found["name"] == manifest["name"]
    assert found["family"] == "stt"
    assert found["folder"] == str(DEMO / "stt")
    assert found["made for"] == f"{manifest['target']} ({manifest['flavour']} graphs)"
    assert found["precision"].startswith(manifest["precision"])
    assert found["audio"] == "24000 Hz, 12.5 frames a second"
    assert found["pauses"] == "4 extra heads"
    for name, graph in manifest["graphs"].items():
        assert f"{len(graph['states'])} states" in found[name]
        assert graph["inputs"][0]["name"] in found[name]


def test_json_is_the_manifest_itself(command: Command) -> None:
    manifest = json.loads((DEMO / "stt" / "bundle.json").read_text("utf-8"))
    shown = json.loads(command("info", "--json").out)
    assert {name: shown[name] for name in manifest} == manifest


def test_a_bundle_by_its_folder(command: Command, tmp_path: Path) -> None:
    bundle = without_heads(tmp_path / "bundle")
    done = command("info", bundle)
    assert (done.code, done.err) == (0, "")
    assert facts(done.out)["pauses"] == "no extra heads"


def test_the_size_is_that_of_the_files(command: Command) -> None:
    size = sum(p.stat().st_size for p in (DEMO / "stt").iterdir() if p.name != "bundle.json")
    assert facts(command("info").out)["size"] == f"{size / 1e6:.1f} MB"


def test_another_family_is_shown_too(command: Command, tmp_path: Path) -> None:
    bundle = copy_demo(tmp_path / "bundle", lambda manifest: manifest.update(family="mimi"))
    assert facts(command("info", bundle).out)["family"] == "mimi"
