"""From what a user calls a model to a bundle: folders, names, exports, the Hub and the demo."""

import json
import os
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from support.bundles import copy_demo

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.cached_models import remove_model
from kyutai_onnx.models.families import FAMILIES, MIMI, MOSHI, SPEECH_TO_TEXT, Family
from kyutai_onnx.models.resolve import DEMO, VARIABLE, locate, open_bundle, open_folder
from kyutai_onnx.runtime import hub as client
from kyutai_onnx.runtime.bundle.bundle import Bundle, sha256
from kyutai_onnx.runtime.bundle.variants import FORMAT, FORMAT_VERSION
from kyutai_onnx.runtime.cache_folder import bundles_folder, downloads_folder
from kyutai_onnx.runtime.errors import ModelError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of bundles, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "cache"))
    bundles_folder().mkdir(parents=True)
    return bundles_folder()


def export(folder: Path, age: float = 0.0) -> Path:
    """A folder that looks like an export made `age` seconds ago."""
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    made = (folder / "bundle.json").stat().st_mtime - age
    os.utime(folder / "bundle.json", (made, made))
    return folder


def missing(name: str | None, family: Family = SPEECH_TO_TEXT) -> str:
    with pytest.raises(ModelError) as caught:
        locate(name, family)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_name_it_is_the_demo_and_says_so() -> None:
    found = locate(None)
    assert found.path == DEMO / "stt"
    assert found.note is not None
    assert "embedded demo" in found.note


def test_the_environment_goes_before_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(export(tmp_path / "one")))
    assert locate(None).path == tmp_path / "one"
    assert locate(None).note is None


def test_a_name_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(export(tmp_path / "one")))
    assert locate(export(tmp_path / "two")).path == tmp_path / "two"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    assert locate(str(tmp_path / "two")).path == tmp_path / "two"
    assert "nowhere" in missing(None)


def test_an_empty_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert locate(None).path == DEMO / "stt"


def test_a_repository_is_found_by_the_name_it_was_exported_from(cache: Path) -> None:
    path = export(cache / "kyutai--stt-1b-en_fr--int8-cpu")
    found = locate("kyutai/stt-1b-en_fr")
    assert found.path == path
    assert found.note == f"using {path}"


def test_of_several_exports_it_is_the_newest_and_says_so(cache: Path) -> None:
    export(cache / "kyutai--stt-1b-en_fr--int8-cpu", age=60)
    newest = export(cache / "kyutai--stt-1b-en_fr--fp32-cpu")
    export(cache / "kyutai--stt-1b-en_fr--int4-cpu", age=30)
    found = locate("kyutai/stt-1b-en_fr")
    assert found.path == newest
    assert found.note == f"using {newest}, the newest of 3 exports of kyutai/stt-1b-en_fr"


def test_half_an_export_and_other_names_are_not_taken(cache: Path) -> None:
    (cache / "kyutai--stt-1b-en_fr--int8-cpu").mkdir()
    export(cache / "kyutai--stt-1b-en_fr-candle--int8-cpu")
    export(cache / "another--stt-1b-en_fr--int8-cpu")
    assert "kyutai/stt-1b-en_fr" in missing("kyutai/stt-1b-en_fr")


@pytest.mark.parametrize("name", ["*", "kyutai/*", "kyutai/[s]tt-1b-en_fr", "../cache", "kyutai"])
def test_a_name_is_no_pattern(cache: Path, name: str) -> None:
    export(cache / "kyutai--stt-1b-en_fr--int8-cpu")
    assert name in missing(name)


def test_a_folder_goes_before_an_export_of_its_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(cache / "mine--int8-cpu")
    export(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert locate("mine").path == Path("mine")


def test_what_is_not_found_says_how_to_make_it(cache: Path) -> None:
    why = missing("kyutai/stt-1b-en_fr")
    assert why.startswith("kyutai/stt-1b-en_fr: ")
    assert "'kyutai-onnx export --repo kyutai/stt-1b-en_fr'" in why


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    why = missing(str(tmp_path))
    assert why.startswith(f"{tmp_path}: no bundle.json")
    assert "'kyutai-onnx export'" in why


def test_a_task_without_a_demo_asks_for_a_model() -> None:
    reported = missing(None, MOSHI)
    assert "'--model kyutai/moshiko-pytorch-bf16'" in reported


def test_every_demo_is_there_that_is_announced() -> None:
    for family in FAMILIES.values():
        folder = family.demo.folder
        assert folder is None or (DEMO / folder / "bundle.json").is_file()


@pytest.mark.parametrize("folder", ["stt", "tts", "hibiki"])
def test_a_demo_is_found_by_its_names(cache: Path, folder: str) -> None:
    name = open_folder(DEMO / folder).manifest.name
    assert locate(f"demo/{folder}").path == locate(name).path == DEMO / folder
    assert f"demo/{folder}" in missing("nobody/nothing")


def test_a_demo_is_of_its_family(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"^demo/tts .* tts"):
        open_bundle("demo/tts", SPEECH_TO_TEXT)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "~/models/x", "C:\\models\\x"])
def test_a_path_that_does_not_exist_says_so(cache: Path, name: str) -> None:
    why = missing(name)
    assert why.startswith(f"{name}: ")
    assert "folder" in why
    assert "export --repo" not in why


class Hub:
    """Stands in for snapshot_download."""

    def __init__(self, answer: Path | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, repo_id: str, *, revision: str | None = None, **_: object) -> str:
        self.asked.append((repo_id, revision))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("hf://me/my.model_1-x", ("me/my.model_1-x", None)),
        ("hf://me/model@v1.0", ("me/model", "v1.0")),
        ("hf://me/model@refs/pr/3", ("me/model", "refs/pr/3")),
    ],
)
def test_a_published_bundle_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, name: str, asked: tuple[str, str | None]
) -> None:
    hub = Hub(DEMO / "stt")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert locate(name).path == DEMO / "stt"
    assert hub.asked[0] == asked


def test_a_published_bundle_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = copy_demo(tmp_path / "snapshot")
    (snapshot / "tokenizer.model").write_bytes(b"changed on the way")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(snapshot))
    with pytest.raises(ModelError, match=r"tokenizer\.model"):
        SpeechToText.load("hf://me/model")


@pytest.mark.parametrize("name", ["hf://", "hf://model", "hf://a/b/c", "hf://a/b@", "hf://a b/c"])
def test_a_name_that_the_hub_cannot_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub = Hub(DEMO / "stt")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert "hf://owner/name[@revision]" in missing(name)
    assert hub.asked == []


def published(place: Path, **changes: object) -> Path:
    """A snapshot of a repository with the demo as its only variant, whose entry is changed."""
    manifest = copy_demo(place / "cpu-int8") / "bundle.json"
    entry = {
        "folder": "cpu-int8",
        "target": "cpu",
        "precision": "int8",
        "minimum_onnxruntime": "1.0",
        "bytes": 1,
        "sha256": sha256(manifest),
    }
    index = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": "me", "family": "stt"}
    text = json.dumps({**index, "variants": [{**entry, **changes}]})
    (place / "variants.json").write_text(text, "utf-8")
    return place


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sha256": "0" * 64}, "cpu-int8"),
        ({"folder": "cpu-fp16"}, "cpu-fp16"),
        ({"minimum_onnxruntime": "99.0"}, "upgrade onnxruntime"),
    ],
)
def test_an_index_that_lies_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    monkeypatch.setattr(client, "is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(published(tmp_path / "whole")))
    assert locate("hf://me/model").path == tmp_path / "whole" / "cpu-int8"
    lying = published(tmp_path / "lying", **changes)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(lying))
    why = missing("hf://me/model")
    assert named in why
    assert "no network" not in why


def test_a_revision_is_not_taken_for_a_folder(cache: Path) -> None:
    assert "--repo me/model --revision v1" in missing("me/model@v1")


def test_a_cache_below_the_home_folder_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", "~/models")
    assert bundles_folder().parent == tmp_path / "models"


def test_a_bundle_that_is_a_link_is_removed_without_what_it_leads_to(
    cache: Path, tmp_path: Path
) -> None:
    kept, link = copy_demo(tmp_path / "kept"), cache / "me--model--int8-cpu"
    link.symlink_to(kept, target_is_directory=True)
    remove_model(link.name)
    assert not link.is_symlink()
    open_folder(kept)


def test_a_repository_without_a_bundle_is_not_downloaded_further(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.setattr(client, "is_reachable", lambda: True)
    why = missing("hf://me/model@v1")
    assert "hf://me/model@v1" in why
    assert "--model me/model" in why
    assert len(hub.asked) == 1


@pytest.mark.parametrize("name", ["me/a--b", "me/model.", "me/m\u00f6del", "me/model.git"])
def test_a_name_that_the_hub_does_not_permit_is_refused_before_its_first_use(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(client, "is_reachable", lambda: False)
    assert repr(name) in missing(name)
    assert repr(name) in missing(f"hf://{name}")
    assert not downloads_folder().exists()


def refused(kind: type[Exception], line: str = "refused") -> Exception:
    """An error of the Hub as its client raises it, without the response that it is made from."""
    error = kind.__new__(kind)
    error.args = (line,)
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (refused(errors.GatedRepoError), "accept its terms at https://"),
        (refused(errors.RepositoryNotFoundError), "or it is private"),
        (refused(errors.RevisionNotFoundError), "has no revision v9"),
        (errors.LocalEntryNotFoundError("no\nnetwork"), "no network"),
        (refused(errors.HfHubHTTPError, "too many\nrequests"), "too many"),
        (ConnectionError("cut off\nfor good"), ": cut off"),
        (OSError(28, "No space left on device"), "No space"),
    ],
)
def test_a_download_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(error))
    message = missing("hf://me/model@v9")
    assert cause in message
    assert "me/model" in message


def test_offline_it_must_be_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    message = missing("hf://me/model")
    assert "not in the cache" in message
    assert "HF_HUB_OFFLINE" in message


def test_any_bundle_has_a_codec_but_not_any_has_speech_to_text(tmp_path: Path) -> None:
    other = copy_demo(tmp_path / "other", lambda manifest: manifest.update(family="moshi"))
    assert open_bundle(other, MIMI).path == other
    with pytest.raises(ModelError, match=r"model of moshi .* stt"):
        open_bundle(other, SPEECH_TO_TEXT)
    opened = Bundle.open(DEMO / "stt")
    assert open_bundle(opened, SPEECH_TO_TEXT) is opened


def test_a_name_that_no_system_has_is_no_bundle() -> None:
    with pytest.raises(ModelError, match="a bundle's folder"):
        locate("a" * 5000, SPEECH_TO_TEXT)
