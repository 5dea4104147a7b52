"""Downloads from the Hugging Face Hub, once, into the Hub's own cache; its errors in one line each.

With HF_HUB_OFFLINE=1 only the cache is asked. A token is taken from HF_TOKEN or the login.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import huggingface_hub
from huggingface_hub import constants, errors, try_to_load_from_cache
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    validate_repo_id,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from .bundle.manifest import FILE_NAME
from .bundle.variants import INDEX
from .errors import ModelError

LOG = logging.getLogger(__name__)

HTTP_ERROR = cast("type[Exception]", errors.HfHubHTTPError.__bases__[0])
"""The root error of the Hub's HTTP client, which is another one from version to version."""

REACH_SECONDS = 10.0
READ_SECONDS = 30.0
BUSY = {429, *range(500, 600)}
"""HTTP status of an answer that may be another one later."""
WHOLE = 200
"""HTTP status of an answer to a request for a part by a server that sends no parts."""
CHANGED = 412
"""HTTP status of a commit whose parent is not the last commit."""

_BUNDLE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?$")


class MissingRepositoryError(ModelError):
    """There is no such repository, or it is private."""


class MissingFileError(ModelError):
    """The repository is there; the file in it is not."""


def download_bundle(name: str, choose: Callable[[Path], str], *, offline: bool = False) -> Path:
    """Download the bundle `owner/name[@revision]` and return its folder; `offline` looks for it in
    the cache alone.

    If the repository has an index of variants, `choose` returns the folder of one of them by the
    path of the index, and no other folder is downloaded. Raises ModelError if it is not available,
    and as `choose` does.
    """
    found = _BUNDLE.match(name)
    if found is None:
        raise ModelError(f"'hf://{name}' is not of the form hf://owner/name[@revision]")
    repo, revision = found["repo"], found["revision"]
    local = offline or not is_reachable()

    def snapshot(revision: str | None, patterns: list[str] | None = None) -> Path:
        try:
            with hub_errors(repo, "the bundle", revision):
                return Path(
                    huggingface_hub.snapshot_download(
                        repo,
                        revision=revision,
                        allow_patterns=patterns,
                        local_files_only=local,
                    )
                )
        except ModelError as error:
            if not (local and isinstance(error.__cause__, errors.LocalEntryNotFoundError)):
                raise
            raise ModelError(_unreached(repo, "the bundle", offline=offline)) from error

    index = snapshot(revision, [INDEX, FILE_NAME]) / INDEX
    if not index.is_file():
        if not local and not index.with_name(FILE_NAME).is_file():
            raise ModelError(
                f"hf://{name} holds no bundle, neither {INDEX} nor {FILE_NAME}; a checkpoint is "
                f"named without hf://, as '--model {repo}'"
            )
        if not local:
            _announce(f"fetching the bundle {name}")
        return snapshot(revision)
    folder = choose(index)
    if not local:
        _announce(f"fetching {folder} of {name}")
    bundle = snapshot(index.parent.name, [f"{folder}/*"]) / folder
    if not bundle.is_dir() and not local:
        raise ModelError(
            f"{INDEX} of {repo} names the folder {folder}, which is not there; ask its publisher"
        )
    if not bundle.is_dir():
        raise ModelError(_unreached(repo, folder, offline=offline))
    return bundle


@dataclass(frozen=True)
class RepositoryState:
    """A repository at a commit: the names of its files."""

    revision: str
    files: list[str]


def find_repository(repo: str) -> RepositoryState | None:
    """Ask the Hub what is in a repository; None if there is none of that name.

    Raises ModelError if the Hub cannot be reached.
    """
    try:
        with hub_errors(repo, "the list of files", None):
            if not is_reachable():
                raise errors.OfflineModeIsEnabled
            found = huggingface_hub.HfApi().model_info(repo)
    except MissingRepositoryError:
        return None
    return RepositoryState(found.sha or "", [file.rfilename for file in found.siblings or []])


def upload(
    repo: str,
    files: Mapping[str, Path | bytes],
    removed: Sequence[str],
    before: RepositoryState | None,
    message: str,
) -> None:
    """Upload files to a repository, by their names there, and remove others, in one commit.

    A new repository is created. Raises ModelError, also if it has changed since `before`.
    """
    if huggingface_hub.get_token() is None:
        raise ModelError(
            f"{repo} cannot be written without a login: run `hf auth login`, or set HF_TOKEN"
        )
    _announce(f"uploading to {repo}")
    operations: list[huggingface_hub.CommitOperationAdd | huggingface_hub.CommitOperationDelete] = [
        *(huggingface_hub.CommitOperationAdd(file, content) for file, content in files.items()),
        *(huggingface_hub.CommitOperationDelete(file) for file in removed),
    ]
    api = huggingface_hub.HfApi()
    with hub_errors(repo, "the bundle", None, "uploaded"):
        if before is None:
            api.create_repo(repo)
        try:
            api.create_commit(
                repo,
                operations,
                commit_message=message,
                parent_commit=before.revision if before else None,
            )
        except errors.HfHubHTTPError as error:
            if error.response.status_code != CHANGED:
                raise
            raise ModelError(f"{repo} has changed during the upload; run it again") from error


def download_file(repo: str, name: str, revision: str | None = None) -> Path:
    """Download a file of a repository and return its path in the cache.

    Raises ModelError if it is not available; LocalEntryNotFoundError is its cause if there is no
    network.
    """
    with hub_errors(repo, name, revision):
        local = not is_reachable()
        if not local and cached_file(repo, name, revision) is None:
            _announce(f"downloading {name} of {repo}")
        return Path(
            huggingface_hub.hf_hub_download(repo, name, revision=revision, local_files_only=local)
        )


def list_files(repo: str, name: str) -> list[str]:
    """Return the names of all files of a repository; `name` says in errors what they are.

    Raises ModelError if the Hub cannot be reached.
    """
    with hub_errors(repo, name, None):
        if not is_reachable():
            raise errors.OfflineModeIsEnabled
        return huggingface_hub.HfApi().list_repo_files(repo)


def check_name(repo: str) -> None:
    """Raise ModelError for a name that no repository of the Hub has."""
    with hub_errors(repo, "", None):
        validate_repo_id(repo)


def cached_file(
    repo: str, name: str, revision: str | None = None, folder: Path | None = None
) -> Path | None:
    """The path of a file in the Hub's cache, or in a folder of that layout; None if it was not
    downloaded before. Raises ModelError for a name that no repository has."""
    with hub_errors(repo, name, revision):
        found = try_to_load_from_cache(repo, name, revision=revision, cache_dir=folder)
    return Path(found) if isinstance(found, str) else None


def download_silently(repo: str, name: str, revision: str | None, folder: Path) -> Path:
    """Download a file into a folder in the layout of the Hub's cache, and return its path; what was
    downloaded before is not downloaded again.

    Raises ModelError if it is not available.
    """
    with hub_errors(repo, name, revision):
        shown = not are_progress_bars_disabled()
        disable_progress_bars()
        try:
            return Path(
                huggingface_hub.hf_hub_download(repo, name, revision=revision, cache_dir=folder)
            )
        finally:
            if shown:
                enable_progress_bars()


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository at a commit, which is not downloaded; `size` is in bytes, `sha256` is
    None if the Hub does not report it."""

    repo: str
    name: str
    revision: str
    size: int
    sha256: str | None

    def read(self, start: int, stop: int) -> bytes:
        """Download the bytes from `start` to `stop`; raises ModelError."""
        with hub_errors(self.repo, self.name, self.revision):
            url = _url(self.repo, self.name, self.revision)
            headers = build_hf_headers() | {"Range": f"bytes={start}-{stop - 1}"}
            answer = huggingface_hub.get_session().get(url, headers=headers, timeout=READ_SECONDS)
            hf_raise_for_status(answer)
            content: bytes = answer.content
        if answer.status_code == WHOLE and len(content) > stop - start:
            raise ModelError(
                f"{self.name} of {self.repo} could not be downloaded: {constants.ENDPOINT} sends "
                "whole files alone; set HF_ENDPOINT to a server that sends parts"
            )
        if len(content) != stop - start:
            raise ModelError(
                f"{self.name} of {self.repo} could not be downloaded: {len(content)} bytes came "
                f"instead of {stop - start}; try again"
            )
        return content


def find_remote_file(repo: str, name: str, revision: str | None = None) -> RemoteFile:
    """Ask the Hub for a file without downloading it.

    Raises ModelError if it is not available, MissingFileError if the repository has no such file.
    """
    with hub_errors(repo, name, revision):
        found = huggingface_hub.get_hf_file_metadata(_url(repo, name, revision))
    if found.size is None or found.commit_hash is None:
        raise ModelError(f"{name} of {repo}: the Hub does not report its size; try again")
    sha256 = found.etag if re.fullmatch(r"[0-9a-f]{64}", found.etag or "") else None
    return RemoteFile(repo, name, found.commit_hash, found.size, sha256)


def _url(repo: str, name: str, revision: str | None) -> str:
    return huggingface_hub.hf_hub_url(repo, name, revision=revision, endpoint=constants.ENDPOINT)


def _announce(what: str) -> None:
    """Log what may take long. The client shows its own bars on a terminal, but not to a program
    that logs nothing but errors."""
    LOG.info(what)
    if not LOG.isEnabledFor(logging.WARNING):
        disable_progress_bars()


@cache
def is_reachable() -> bool:
    """Whether the Hub answers. The client tries a file six times, for 20 s, before it gives up."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except (HTTP_ERROR, OSError):
        return False
    return True


@contextmanager
def hub_errors(
    repo: str, name: str, revision: str | None, action: str = "downloaded"
) -> Iterator[None]:
    """Turn what the Hub's client raises into a ModelError of one line that says what to do."""
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: accept its terms at https://huggingface.co/{repo}, then log in "
            "with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingRepositoryError(
            f"{repo} is not a repository of the Hugging Face Hub, or it is private: check the "
            "name, or log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no revision {revision}") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        answer = error.__cause__
        if isinstance(answer, errors.HfHubHTTPError | errors.FileMetadataError):
            raise ModelError(_refused(repo, name, action, answer)) from error
        raise ModelError(_unreached(repo, name)) from error
    except errors.EntryNotFoundError as error:
        raise MissingFileError(f"{repo} has no file {name}") from error
    except errors.HFValidationError as error:
        raise ModelError(
            f"{repo!r} is not a name of the form owner/name that the Hub permits; check it"
        ) from error
    except (HTTP_ERROR, OSError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise ModelError(f"{name} of {repo} could not be {action}: {cause}") from error


def _refused(repo: str, name: str, action: str, answer: Exception) -> str:
    """What an answer of the Hub means; it may be out of order, or not permit what was asked."""
    status = getattr(getattr(answer, "response", None), "status_code", 0)
    step = "try again later" if status in BUSY else "check HF_ENDPOINT and `hf auth login`"
    cause = str(answer).partition("\n")[0].rstrip(".")
    return f"{name} of {repo} could not be {action}: {cause}; {step}"


def _unreached(repo: str, name: str, *, offline: bool = False) -> str:
    if offline or constants.HF_HUB_OFFLINE:
        setting = "--offline" if offline else "HF_HUB_OFFLINE"
        return f"{name} of {repo} is not in the cache, and {setting} forbids its download"
    return f"no network: the Hub could not be reached for {name} of {repo}, nor is it in the cache"
