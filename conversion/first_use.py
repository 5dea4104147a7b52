"""The first use of a repository of the Hub: its checkpoint is downloaded and becomes a bundle.

What does not fit is known before anything large is downloaded, since the headers of the weights can
be read alone. The checkpoint is downloaded into a folder of its own, which is removed when the
bundle is complete; a download that breaks off is resumed by the next use.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from ..runtime.bundle.bundle import sha256
from ..runtime.bundle.manifest import Precision, is_bundle
from ..runtime.cache_folder import downloads_folder
from ..runtime.errors import KyutaiOnnxError, ModelError, UsageError
from ..runtime.hub import (
    MissingFileError,
    RemoteFile,
    cached_file,
    check_name,
    download_silently,
    find_remote_file,
    is_reachable,
)
from .checkpoint.checkpoint import Checkpoint, read_checkpoint
from .checkpoint.repository import Repository, commit_of
from .convert import Request, plan_conversion
from .filling.atomic_folder import atomic_folder
from .filling.card import NON_COMMERCIAL_REPOSITORIES
from .filling.fill import Progress, fill_template
from .filling.kv_calibration import CacheEntries
from .filling.shipped import shipped_template
from .filling.template import Template

PAUSE_HEADS = {"kyutai/stt-1b-en_fr": "kyutai/stt-1b-en_fr-candle"}
"""The repository of the same model that has the pause heads which a repository lacks."""
MARGIN = 50_000_000
"""Bytes of the disk that stay free."""
PIECE = 1 << 24
"""Bytes that are downloaded at once."""
TRIES = 3
WEIGHTS = "weights"
"""Folder of the weights, among the downloads of a repository."""
ELSEWHERE = "set KYUTAI_ONNX_CACHE to a folder on another disk"


@dataclass(frozen=True)
class FirstUse:
    """What is done with a repository that has no bundle here yet.

    `check` refuses a model by its family. `cache_entries` runs the bundle to calibrate an 8-bit KV
    cache. `note` gets the lines for the user.
    """

    repo: str
    target: str
    precision: Precision | None
    check: Callable[[str], object]
    cache_entries: CacheEntries
    note: Callable[[str], object]
    progress: Progress

    def convert(self) -> Path:
        """Download and convert the repository, and return the bundle's folder.

        Of two processes the second one waits for the first one.

        Raises:
            ModelError: the repository is not available, gated, or not what it should be.
            UsageError: no template of this configuration comes with the package.
            KyutaiOnnxError: the disk has too little space.
        """
        check_name(self.repo)
        if not is_reachable():
            raise ModelError(
                f"{self.repo}: no bundle of that name, and the Hub cannot be reached to download "
                "the model; connect to the network, or name a bundle's folder"
            )
        folder = downloads_folder() / self.repo.replace("/", "--")
        with lock_of(self.repo, self._say_waiting):
            return self._convert(folder)

    def _say_waiting(self) -> None:
        self.note(f"another process converts {self.repo}; waiting for it")

    def _convert(self, folder: Path) -> Path:
        downloads = _Downloads(folder)
        downloads.forget_commit()
        repository = Repository.open(self.repo, hub=downloads.open)
        planned, heads = self._open(repository)
        self.check(planned.family)
        request = Request(self.repo, target=self.target, precision=self.precision)
        design, out = plan_conversion(planned, request)
        if is_bundle(out):
            return out
        template = shipped_template(design)
        if template is None:
            raise UsageError(
                f"{self.repo}: no template for it in {design.precisions.model} for {self.target} "
                f"comes with the package; run 'kyutai-onnx export --repo {self.repo}' (needs the "
                "export extra)"
            )
        waiting = [file for file in downloads.weights.values() if file.repo != heads]
        _clear(out)
        self._announce(template, out, sum(map(downloads.missing, waiting)))
        downloads.fetch(waiting, self.progress)
        checkpoint = read_checkpoint(
            Repository.open(self.repo, repository.revision, hub=downloads.open), extra_heads=heads
        )
        with atomic_folder(out, force=False, elsewhere=ELSEWHERE) as partial:
            fill_template(template, checkpoint, partial, self.cache_entries, self.progress)
        shutil.rmtree(folder, ignore_errors=True)
        return out

    def _open(self, repository: Repository) -> tuple[Checkpoint, str | None]:
        """The checkpoint, with the pause heads of another repository if it lacks them; and the name
        of that one."""
        checkpoint = read_checkpoint(repository)
        lm, heads = checkpoint.config.lm, PAUSE_HEADS.get(self.repo)
        if heads is None or lm is None or lm.extra_heads_num_heads:
            return checkpoint, None
        try:
            return read_checkpoint(repository, extra_heads=heads), heads
        except ModelError as error:
            self.note(f"no pauses: the pause heads of {heads} are not available ({error})")
            return checkpoint, None

    def _announce(self, template: Template, out: Path, download: int) -> None:
        """Note what comes; raises KyutaiOnnxError if the disk has no space for it."""
        size = sum(graph.bytes + len(graph.model) for graph in template.graphs.values())
        needed = download + size + MARGIN
        free = shutil.disk_usage(_nearest(out)).free
        if free < needed:
            raise KyutaiOnnxError(
                f"{out.parent}: {self.repo} needs {_amount(needed)} of disk and {_amount(free)} "
                f"are free; free some, or {ELSEWHERE}"
            )
        code = NON_COMMERCIAL_REPOSITORIES.get(self.repo)
        terms = f"; not for commercial use (CC {code.upper()} 4.0)" if code else ""
        self.note(
            f"{self.repo} is used for the first time: downloading {_amount(download)}, "
            f"then converting to {template.precisions.model} for {template.target} "
            f"({_amount(size)}) in {out}{terms}"
        )


@contextmanager
def lock_of(repo: str, waiting: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold the lock of a repository, which a kill releases; yields whether it is held.

    If another process holds it, `waiting` is called and the lock is waited for; without `waiting`
    it is not. Raises KyutaiOnnxError if the cache cannot be written.
    """
    folder = downloads_folder()
    lock = FileLock(folder / f"{repo.replace('/', '--')}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            yield False
            return
        waiting()
        lock.acquire()
    except OSError as error:
        raise KyutaiOnnxError(f"{folder}: {error.strerror}; {ELSEWHERE}") from None
    try:
        yield True
    finally:
        lock.release()


@dataclass
class _Downloads:
    """A folder of downloaded files; `weights` are the files that are still on the Hub, by their
    repository and name. Small files lie there as in the Hub's cache, weights by their commit."""

    folder: Path
    weights: dict[tuple[str, str], RemoteFile] = field(default_factory=dict)

    def open(self, repo: str, revision: str | None) -> "_HubSource":
        return _HubSource(self, repo, revision)

    def local(self, repo: str, name: str, revision: str | None) -> Path | None:
        """A file that was downloaded, by this program or another one. Without a revision it
        is that of the download that broke off."""
        if revision is None:
            return cached_file(repo, name, None, self.folder)
        if (place := self._place(repo, name, revision)).is_file():
            return place
        return cached_file(repo, name, revision, self.folder) or cached_file(repo, name, revision)

    def forget_commit(self) -> None:
        """Remove a download that has no weights yet, so that the newest commit is asked for.

        Raises KyutaiOnnxError if it cannot be removed.
        """
        try:
            if self.folder.exists() and not (self.folder / WEIGHTS).exists():
                shutil.rmtree(self.folder)
        except OSError as error:
            raise KyutaiOnnxError(
                f"{self.folder} cannot be removed ({error.strerror}); remove it"
            ) from None

    def missing(self, file: RemoteFile) -> int:
        """How many bytes of a file have not come yet."""
        part = _part(self._place(file.repo, file.name, file.revision))
        return file.size - (part.stat().st_size if part.is_file() else 0)

    def fetch(self, files: Sequence[RemoteFile], progress: Progress) -> None:
        """Download files of weights, from where a download broke off.

        Raises:
            ModelError: a download breaks off, or what came is damaged.
            KyutaiOnnxError: the disk does not take it.
        """
        total, before = sum(file.size for file in files), 0
        for file in files:
            place = self._place(file.repo, file.name, file.revision)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with _part(place).open("ab") as part:
                    while (done := part.tell()) < file.size:
                        progress("downloading", before + done, total)
                        part.write(_read(file, done, min(done + PIECE, file.size)))
                self._complete(file, place)
            except OSError as error:
                raise KyutaiOnnxError(
                    f"{place}: {error.strerror}; free space, or {ELSEWHERE}"
                ) from None
            before += file.size
        progress("downloading", total, total)

    def _complete(self, file: RemoteFile, place: Path) -> None:
        part = _part(place)
        if part.stat().st_size != file.size or file.sha256 not in (None, sha256(part)):
            part.unlink()
            raise ModelError(
                f"{file.name} of {file.repo} came damaged and was removed; run it again to "
                "download it"
            )
        part.rename(place)

    def _place(self, repo: str, name: str, revision: str) -> Path:
        return self.folder / WEIGHTS / repo.replace("/", "--") / revision / name


def _clear(out: Path) -> None:
    """Remove what is left of a bundle whose manifest was removed; raises KyutaiOnnxError."""
    try:
        if out.is_symlink():
            out.unlink()
        elif out.exists():
            shutil.rmtree(out)
    except OSError as error:
        raise KyutaiOnnxError(
            f"{out} holds no bundle and cannot be removed ({error.strerror}); remove it"
        ) from None


def _part(place: Path) -> Path:
    """What there is of a file until it is whole."""
    return place.with_name(f"{place.name}.part")


def _read(file: RemoteFile, start: int, stop: int) -> bytes:
    """Download a part of a file, if need be at the second or third try; raises ModelError."""
    for attempt in range(TRIES):
        try:
            return file.read(start, stop)
        except ModelError as error:
            if attempt + 1 == TRIES:
                raise ModelError(f"{error}; run it again to resume the download") from error
    raise AssertionError


class _HubSource:
    """A repository of which small files are downloaded when they are asked for, and weights are
    read where they are until they are fetched."""

    def __init__(self, downloads: _Downloads, repo: str, revision: str | None) -> None:
        self._downloads, self._repo, self.revision = downloads, repo, revision

    def file(self, name: str) -> Path:
        downloads = self._downloads
        path = downloads.local(self._repo, name, self.revision) or download_silently(
            self._repo, name, self.revision, downloads.folder
        )
        self.revision = commit_of(path) or self.revision
        return path

    def remote(self, name: str) -> RemoteFile | None:
        if self._downloads.local(self._repo, name, self.revision) is not None:
            return None
        key = self._repo, name
        if key not in self._downloads.weights:
            try:
                found = find_remote_file(self._repo, name, self.revision)
            except MissingFileError:
                return None
            self._downloads.weights[key] = found
            self.revision = found.revision
        return self._downloads.weights[key]


def _nearest(path: Path) -> Path:
    """The folder that exists, of those above a path."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def _amount(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
