import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from kyutai_onnx.conversion.checkpoint.repository import Repository
from kyutai_onnx.runtime.bundle.manifest import FileEntry
from kyutai_onnx.runtime.errors import ModelError, UsageError
from kyutai_onnx.runtime.hub import HTTP_ERROR, RemoteFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "voices").mkdir()
    (path / "voices" / "a.wav").write_bytes(b"voice")
    return path


class Hub:
    """Stands in for hf_hub_download: files of repositories, laid out as in the Hub's cache."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.asked: list[tuple[str, str, str | None]] = []

    def add(self, repo: str, name: str, content: bytes) -> None:
        path = self._path(repo, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def download(
        self, repo_id: str, filename: str, *, revision: str | None = None, **_: object
    ) -> str:
        self.asked.append((repo_id, filename, revision))
        path = self._path(repo_id, filename)
        if not path.exists():
            raise errors.EntryNotFoundError("404")
        return str(path)

    def _path(self, repo: str, name: str) -> Path:
        folder = f"models--{repo.replace('/', '--')}"
        return self.cache / folder / "snapshots" / COMMIT / name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    return made


Fail = Callable[[Exception], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Makes every download raise."""

    def set_error(error: Exception) -> None:
        def download(*_: object, **__: object) -> str:
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)

    return set_error


def http_error(kind: type[Exception], message: str = "from the Hub\nRequest ID: 1") -> Exception:
    """The Hub's own exceptions, which otherwise want a response of its HTTP client."""
    error = kind.__new__(kind)
    error.args = (message,)
    return error


def test_a_folder_gives_its_files(folder):
    repository = Repository.open(str(folder))
    assert repository.file("config.json") == folder / "config.json"
    assert repository.file("voices/a.wav") == folder / "voices" / "a.wav"
    assert repository.revision is None


def test_a_file_that_a_folder_lacks_is_named(folder):
    repository = Repository.open(str(folder))
    with pytest.raises(ModelError, match=r"model has no file tokenizer.model"):
        repository.file("tokenizer.model")
    assert repository.optional("tokenizer.model") is None


OUTSIDE = [
    "../shared.model",
    "voices/../../shared.model",
    "file://../shared.model",
    "file://config.json",
    "/etc/passwd",
    "//server/share",
    "\\\\server\\share",
    "..\\shared.model",
    "C:\\shared.model",
    "C:shared.model",
    "config.json\0",
    "a/" * 5000 + "b",
    "",
    ".",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name[:20]))
def test_a_name_that_leaves_the_repository_is_refused(hub, folder, name):
    (folder.parent / "shared.model").write_text("tokenizer")
    hub.add("kyutai/mimi", "config.json", b"{}")
    for repository, asked in (
        (Repository.open(str(folder)), name),
        (Repository.open(str(folder)), f"hf://kyutai/mimi/{name}"),
        (Repository.open("kyutai/mimi"), name),
    ):
        with pytest.raises(ModelError, match=r"not inside it|hf://owner/name/path") as refused:
            repository.optional(asked)
        assert "\n" not in str(refused.value)
    assert hub.asked == []


def test_a_link_in_a_folder_is_the_file_that_it_leads_to(folder, tmp_path):
    (tmp_path / "blob").write_text("weights")
    (folder / "model.safetensors").symlink_to("../blob")
    assert Repository.open(str(folder)).file("model.safetensors").read_text() == "weights"


def test_a_folder_has_no_revision(folder):
    with pytest.raises(UsageError, match="revision main"):
        Repository.open(str(folder), revision="main")


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "name", "a/b/c", "hf://name", ""])
def test_what_is_neither_a_folder_nor_a_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="owner/name"):
        Repository.open(name)


def test_a_file_is_no_repository(folder):
    with pytest.raises(ModelError, match="neither a folder nor"):
        Repository.open(str(folder / "config.json"))


@pytest.mark.parametrize(
    ("name", "given", "revision"),
    [
        ("kyutai/stt", None, None),
        ("hf://kyutai/stt", None, None),
        ("hf://kyutai/stt@v1.0", None, "v1.0"),
        ("kyutai/stt", "main", "main"),
        ("kyutai/stt@v1", "v2", "v2"),
    ],
)
def test_a_name_of_the_hub_may_carry_a_revision(hub, name, given, revision):
    hub.add("kyutai/stt", "config.json", b"{}")
    repository = Repository.open(name, given)
    assert (repository.name, repository.revision) == ("kyutai/stt", revision)
    assert hub.asked == []
    repository.file("config.json")
    assert hub.asked == [("kyutai/stt", "config.json", revision)]


def test_the_first_file_fixes_the_commit_of_the_others(hub):
    hub.add("kyutai/stt", "config.json", b"{}")
    hub.add("kyutai/stt", "model.safetensors", b"weights")
    repository = Repository.open("kyutai/stt", "main")
    repository.file("config.json")
    assert repository.revision == COMMIT
    repository.file("model.safetensors")
    assert hub.asked[-1] == ("kyutai/stt", "model.safetensors", COMMIT)


def test_a_file_is_asked_for_once(hub):
    hub.add("kyutai/stt", "config.json", b"{}")
    repository = Repository.open("kyutai/stt")
    assert repository.file("config.json") == repository.file("config.json")
    assert len(hub.asked) == 1


def test_a_name_may_point_into_another_repository(hub):
    hub.add("kyutai/mimi", "v1/codec.safetensors", b"codec")
    hub.add("kyutai/stt", "config.json", b"{}")
    repository = Repository.open("kyutai/stt", "main")
    repository.file("config.json")
    assert repository.file("hf://kyutai/mimi/v1/codec.safetensors").read_bytes() == b"codec"
    repository.file("hf://kyutai/mimi@v2/v1/codec.safetensors")
    assert hub.asked[1:] == [
        ("kyutai/mimi", "v1/codec.safetensors", None),
        ("kyutai/mimi", "v1/codec.safetensors", "v2"),
    ]


def test_a_full_name_in_the_repository_itself_keeps_its_commit(hub):
    hub.add("kyutai/stt", "config.json", b"{}")
    hub.add("kyutai/stt", "codec.safetensors", b"codec")
    repository = Repository.open("kyutai/stt")
    repository.file("config.json")
    repository.file("hf://kyutai/stt/codec.safetensors")
    assert hub.asked[-1] == ("kyutai/stt", "codec.safetensors", COMMIT)


def test_a_folder_may_point_to_the_hub(hub, folder):
    hub.add("kyutai/mimi", "codec.safetensors", b"codec")
    repository = Repository.open(str(folder))
    assert repository.file("hf://kyutai/mimi/codec.safetensors").read_bytes() == b"codec"
    with pytest.raises(ModelError, match="hf://owner/name/path"):
        repository.file("hf://kyutai/mimi")


def test_files_are_hashed_for_those_who_ask(hub, folder):
    hub.add("kyutai/mimi", "codec.safetensors", b"codec")
    repository = Repository.open(str(folder))
    assert repository.files_used == {}
    repository.file("voices/a.wav")
    repository.file("hf://kyutai/mimi/codec.safetensors")
    repository.optional("absent")
    assert repository.files_used == {
        "voices/a.wav": FileEntry(hashlib.sha256(b"voice").hexdigest(), 5),
        "hf://kyutai/mimi/codec.safetensors": FileEntry(hashlib.sha256(b"codec").hexdigest(), 5),
    }


def test_files_from_elsewhere_can_be_counted(folder, tmp_path):
    adapter = tmp_path / "lora.safetensors"
    adapter.write_bytes(b"lora")
    other = Repository.open(str(tmp_path))
    other.file("lora.safetensors")
    repository = Repository.open(str(folder))
    repository.add("mine.safetensors", adapter)
    repository.include(other)
    assert set(repository.files_used) == {"mine.safetensors", f"{tmp_path}/lora.safetensors"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(errors.RepositoryNotFoundError), "kyutai/stt is not a repository"),
        (
            http_error(errors.GatedRepoError),
            r"kyutai/stt is gated: .* https://huggingface.co/kyutai/stt, ",
        ),
        (http_error(errors.RevisionNotFoundError), "kyutai/stt has no revision v3"),
        (errors.EntryNotFoundError("404"), r"kyutai/stt has no file config.json"),
        (errors.HFValidationError("bad"), "owner/name"),
        (
            http_error(errors.HfHubHTTPError),
            r"config.json of kyutai/stt .* downloaded: f",
        ),
        (OSError("disk full"), ": disk full"),
        (http_error(HTTP_ERROR, "connection reset"), ": connection reset"),
    ],
)
def test_every_failure_of_the_hub_has_its_own_message(fail, error, message):
    fail(error)
    with pytest.raises(ModelError, match=message) as raised:
        Repository.open("kyutai/stt", "v3").file("config.json")
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("answer", "step"), [(503, "try again"), (429, "try again"), (403, "hf auth login")]
)
def test_a_hub_that_answers_is_not_reported_as_no_network(fail, answer, step):
    missing, refused = (
        errors.LocalEntryNotFoundError("not cached"),
        http_error(errors.HfHubHTTPError, f"{answer} from the Hub\nRequest ID: 1"),
    )
    refused.response = SimpleNamespace(status_code=answer)
    missing.__cause__ = refused
    fail(missing)
    with pytest.raises(ModelError, match=f"config.json of kyutai/stt .*{answer}.*{step}") as raised:
        Repository.open("kyutai/stt").file("config.json")
    assert "no network" not in str(raised.value)


def test_what_the_client_finds_invalid_is_no_crash(fail):
    fail(ValueError("a pointer that leaves the cache"))
    with pytest.raises(ModelError, match="pointer"):
        Repository.open("kyutai/stt").file("config.json")


def test_a_server_that_sends_no_parts_of_files_is_named(monkeypatch):
    answer = SimpleNamespace(status_code=200, content=bytes(100), raise_for_status=lambda: None)
    session = SimpleNamespace(get=lambda *_, **__: answer)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    file = RemoteFile("me/x", "model.safetensors", COMMIT, 100, None)
    assert len(file.read(0, 100)) == 100
    with pytest.raises(ModelError, match="HF_ENDPOINT"):
        file.read(0, 8)


def test_no_network_and_offline_are_distinguished(fail, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    fail(errors.LocalEntryNotFoundError("not cached"))
    repository = Repository.open("kyutai/stt")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"no network: .* config.json of kyutai/stt"):
        repository.file("config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"config.json of kyutai/stt .* the cache"):
        repository.file("config.json")
    with pytest.raises(ModelError, match="the cache"):
        repository.optional("config.json")


def test_offline_the_cache_knows_which_files_do_not_exist(fail, monkeypatch):
    fail(errors.LocalEntryNotFoundError("not cached"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: object())
    repository = Repository.open("kyutai/moshiko-pytorch-bf16")
    assert repository.optional("config.json") is None


@pytest.mark.parametrize("error", [errors.RepositoryNotFoundError, errors.GatedRepoError])
def test_only_a_missing_file_is_optional(fail, error):
    fail(http_error(error))
    with pytest.raises(ModelError):
        Repository.open("kyutai/stt").optional("config.json")
