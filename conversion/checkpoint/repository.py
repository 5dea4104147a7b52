"""Where a checkpoint's files come from: a local folder, or a repository of the Hugging Face Hub.

Knows nothing of what the files hold.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import huggingface_hub
from huggingface_hub import errors

from ...runtime.bundle.bundle import sha256
from ...runtime.bundle.manifest import FileEntry, is_inside
from ...runtime.errors import ModelError, UsageError
from ...runtime.hub import MissingFileError, RemoteFile, download_file

HUB = "hf://"
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+?)(?:@(?P<revision>[^/]+))?$")
FILE = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+?)(?:@(?P<revision>[^/]+))?/(?P<file>.+)$")


class Source(Protocol):
    """What a repository's plain file names refer to."""

    revision: str | None

    def file(self, name: str) -> Path:
        """The path of a file; raises MissingFileError if there is none of that name."""

    def remote(self, name: str) -> RemoteFile | None:
        """A file of weights that is to be read where it is; None if it is read as a whole or there
        is none of that name."""


class Folder:
    """A local folder in a repository's layout."""

    revision: str | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def file(self, name: str) -> Path:
        path = self._path / name
        try:
            if path.is_file():
                return path
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror})") from None
        raise MissingFileError(f"{self._path} has no file {name}")

    def remote(self, name: str) -> RemoteFile | None:  # noqa: ARG002
        return None


class HubRepository:
    """A repository of the Hub, downloaded file by file into its cache.

    The token is that of `hf auth login` or `HF_TOKEN`; `HF_HUB_OFFLINE=1` keeps to the cache. The
    first file fixes the commit from which all others come.
    """

    def __init__(self, repo: str, revision: str | None) -> None:
        self._repo = repo
        self.revision = revision

    def __str__(self) -> str:
        return self._repo

    def file(self, name: str) -> Path:
        try:
            path = download_file(self._repo, name, self.revision)
        except ModelError as error:
            if isinstance(error.__cause__, errors.LocalEntryNotFoundError):
                self._raise_if_known_missing(name)
            raise
        self.revision = commit_of(path) or self.revision
        return path

    def remote(self, name: str) -> RemoteFile | None:  # noqa: ARG002
        return None

    def _raise_if_known_missing(self, name: str) -> None:
        """The cache also remembers which files were asked for and are not in the repository."""
        known = huggingface_hub.try_to_load_from_cache(self._repo, name, revision=self.revision)
        if known is not None and not isinstance(known, str):
            raise MissingFileError(f"{self._repo} has no file {name}")


def commit_of(cached: Path) -> str | None:
    """The commit that a file in the Hub's cache is of (`.../snapshots/COMMIT/...`)."""
    return next((part for part in reversed(cached.parts) if COMMIT.fullmatch(part)), None)


OpenHub = Callable[[str, str | None], Source]
"""Opens a repository of the Hub by its name and revision."""


class Repository:
    """A checkpoint's files by name. Names are plain or `hf://owner/name[@revision]/path`, and
    never leave their repository. The `file://` of moshi models/loaders.py hf_get is not read.

    Another repository is read at its own `@revision` or its newest one.
    """

    def __init__(self, name: str, source: Source, hub: OpenHub = HubRepository) -> None:
        self.name = name
        self._source, self._hub = source, hub
        self._paths: dict[str, Path] = {}

    @staticmethod
    def open(repo: str, revision: str | None = None, hub: OpenHub = HubRepository) -> "Repository":
        """Opens a folder, or `owner/name` of the Hub, also as `hf://owner/name[@revision]`.

        Nothing is downloaded yet. `hub` opens this repository of the Hub, and those that it names.

        Raises:
            ModelError: neither a folder nor a possible name.
            UsageError: a revision of a folder.
        """
        folder = Path(repo).expanduser()
        if repo and folder.is_dir():
            if revision is not None:
                raise UsageError(f"{repo} is a folder, which has no revision {revision}")
            return Repository(repo, Folder(folder))
        found = NAME.match(repo.removeprefix(HUB))
        if found is None or folder.is_file():
            raise ModelError(f"{repo!r} is neither a folder nor owner/name of the Hugging Face Hub")
        source = hub(found["repo"], revision or found["revision"])
        return Repository(found["repo"], source, hub)

    def other(self, repo: str) -> "Repository":
        """Opens another repository as this one was opened."""
        return Repository.open(repo, hub=self._hub)

    @property
    def revision(self) -> str | None:
        """The commit of a Hub repository once a file was read, before that what was asked for;
        None for a folder."""
        return self._source.revision

    def file(self, name: str) -> Path:
        """The local path of a file, downloaded if needed.

        Raises:
            ModelError: it is not available; the message says why and what to do.
        """
        if name not in self._paths:
            self._paths[name] = self._find(name)
        return self._paths[name]

    def optional(self, name: str) -> Path | None:
        """The same, or None if the repository has no such file."""
        try:
            return self.file(name)
        except MissingFileError:
            return None

    def remote(self, name: str) -> RemoteFile | None:
        """A file of weights that is to be read where it is; None if it is read as a whole or there
        is none of that name. Raises ModelError."""
        source, plain = self._placed(name)
        return source.remote(plain)

    @property
    def paths(self) -> Mapping[str, Path]:
        """Every file asked for so far, by the name it was asked by."""
        return dict(self._paths)

    def add(self, name: str, path: Path) -> None:
        """Counts a file from elsewhere among `paths` and `files_used`."""
        self._paths[name] = path

    def include(self, other: "Repository") -> None:
        """Counts another repository's files, below its name."""
        self._paths |= {f"{other.name}/{name}": path for name, path in other.paths.items()}

    @property
    def files_used(self) -> Mapping[str, FileEntry]:
        """SHA-256 and size of each of `paths`, computed now."""
        return {
            name: FileEntry(sha256(path), path.stat().st_size) for name, path in self._paths.items()
        }

    def _find(self, name: str) -> Path:
        source, plain = self._placed(name)
        return source.file(plain)

    def _placed(self, name: str) -> tuple[Source, str]:
        """The repository that holds a file, and its plain name there."""
        if name.startswith(HUB):
            return self._elsewhere(name)
        return self._source, self._checked(name)

    def _checked(self, name: str) -> str:
        """A plain name. Raises ModelError: those of a configuration are a stranger's."""
        if not is_inside(name):
            raise ModelError(
                f"{self.name} names the file {name[:100]!r}, which is not inside it; copy the file "
                "into the folder and give its plain name"
            )
        return name

    def _elsewhere(self, name: str) -> tuple[Source, str]:
        found = FILE.match(name.removeprefix(HUB))
        if found is None:
            raise ModelError(f"{name} is not of the form hf://owner/name/path")
        if found["repo"] == self.name and found["revision"] is None:
            return self._source, self._checked(found["file"])
        return self._hub(found["repo"], found["revision"]), self._checked(found["file"])
