"""`models`: what the cache holds, and removing it."""

from pathlib import Path

import pytest
from support.bundles import copy_demo
from support.commands import Command

from kyutai_onnx.conversion.first_use import lock_of
from kyutai_onnx.runtime.cache_folder import bundles_folder, downloads_folder

REPO = "kyutai/stt-1b-en_fr"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle, one that cannot be read, and a download that broke off."""
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "cache"))
    copy_demo(
        bundles_folder() / "kyutai--stt-1b-en_fr--int8-cpu",
        lambda manifest: manifest["source"].update(repository=REPO),
    )
    broken = bundles_folder() / "someone--else--int4-cpu"
    broken.mkdir(parents=True)
    (broken / "bundle.json").write_text("{}")
    part = downloads_folder() / "kyutai--stt-1b-en_fr" / "weights" / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1_500_000))
    return tmp_path / "cache"


def listed(command: Command) -> list[list[str]]:
    return [line.split("\t") for line in command("models").out.splitlines()]


def test_models_are_listed_with_what_is_here_of_them(cache: Path, command: Command) -> None:
    rows = listed(command)
    assert [row[:2] for row in rows[:3]] == [
        [REPO, "download"],
        [REPO, "int8 for cpu"],
        ["someone/else", "unreadable"],
    ]
    assert rows[0][2] == "1.5 MB"
    assert rows[1][3] == str(bundles_folder() / "kyutai--stt-1b-en_fr--int8-cpu")


def test_what_can_be_had_is_listed_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "none"))
    assert [REPO, "not here"] in listed(command)


def test_all_of_a_repository_is_removed(cache: Path, command: Command) -> None:
    done = command("models", "--remove", REPO)
    assert (done.code, done.out) == (0, "")
    assert len(done.err.splitlines()) == 2
    assert [row[0] for row in listed(command) if row[1] != "not here"] == ["someone/else"]


def test_one_bundle_is_removed_by_its_folder(cache: Path, command: Command) -> None:
    assert command("models", "--remove", "someone--else--int4-cpu", "-q").err == ""
    assert "someone/else" not in {row[0] for row in listed(command)}


def test_nothing_of_that_name_is_an_error(cache: Path, command: Command) -> None:
    done = command("models", "--remove", "someone/other")
    assert done.code == 3
    assert "someone/other" in done.error


def test_what_another_process_converts_is_not_removed(cache: Path, command: Command) -> None:
    with lock_of(REPO) as alone:
        assert alone
        done = command("models", "--remove", REPO)
    assert done.code == 2
    assert len([row for row in listed(command) if row[1] != "not here"]) == 3
