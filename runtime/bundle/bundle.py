"""A bundle's folder, opened: its manifest parsed, its files checked before anything reads them."""

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.version import Version

from ..cache_folder import cache_folder
from ..errors import KyutaiOnnxError, ModelError
from .dataclass_json import parse, parse_json, read_bounded
from .manifest import (
    FILE_NAME,
    FORMAT,
    FORMAT_VERSION,
    REMEDY,
    GraphSpec,
    Manifest,
    check_manifest,
)


@dataclass(frozen=True)
class Bundle:
    """A folder with a manifest that holds and files that match it.

    `shared` is a folder of more files, which the program trusts and no manifest names.
    """

    path: Path
    manifest: Manifest
    shared: Path | None = None

    @classmethod
    def open(cls, path: Path | str, shared: Path | None = None) -> "Bundle":
        """Opens and checks a bundle, whose missing files are those in `shared`.

        Every file's size is checked each time, its hash as long as it has not changed since it was
        last found right. Raises ModelError, naming the file at fault and what to do.
        """
        path = Path(path)
        bundle = cls(path, read_manifest(path), shared)
        check_files(bundle)
        return bundle

    @cached_property
    def identity(self) -> str:
        """Distinguishes bundles by weights and settings: states fit bundles of the same
        identity."""
        source = self.manifest.source
        hashes = sorted((name, entry.sha256) for name, entry in source.files.items())
        content = json.dumps([self.manifest.family, source.repository, hashes])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        own = self.path / name
        return own if self.shared is None or own.is_file() else self.shared / name

    def graph(self, name: str) -> GraphSpec:
        """The graph of that name; the manifest's own references are checked when it is read."""
        return self.manifest.graphs[name]


def read_manifest(path: Path) -> Manifest:
    """Reads and validates `bundle.json` of a folder; raises ModelError."""
    file = path / FILE_NAME
    if not path.is_dir():
        raise ModelError(f"{path}: no such folder; give a bundle made by 'kyutai-onnx export'")
    if not file.is_file():
        raise ModelError(f"{path}: no {FILE_NAME} here; make a bundle with 'kyutai-onnx export'")
    try:
        content = parse_json(read_bounded(file))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not readable as JSON ({error}); {REMEDY}") from None
    _check_version(file, content)
    try:
        manifest = parse(Manifest, content)
        check_manifest(manifest)
    except ValueError as error:
        raise ModelError(f"{file}: {error}; {REMEDY}") from None
    return manifest


def _check_version(file: Path, content: object) -> None:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{file}: not a {FORMAT} bundle; {REMEDY}")
    version = content.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ModelError(f"{file}: format version {version!r} is invalid; {REMEDY}")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{file}: format version {version}, this program reads up to {FORMAT_VERSION}; "
            "upgrade kyutai-onnx"
        )


def check_onnxruntime(bundle: Bundle, installed: str) -> None:
    """Refuses an ONNX Runtime older than the oldest that runs the graphs; raises ModelError."""
    oldest = bundle.manifest.minimum_onnxruntime
    if Version(installed) < Version(oldest):
        raise ModelError(
            f"{bundle.path}: needs onnxruntime {oldest}, {installed} is installed; upgrade it, or "
            "export with '--target directml', whose graphs run on older releases"
        )


def check_files(bundle: Bundle) -> None:
    """Compares every file with its size and hash in the manifest; raises ModelError."""
    known = HashCache()
    for name, entry in bundle.manifest.files.items():
        file = bundle.file(name)
        if not file.is_file():
            raise ModelError(f"{file}: missing from the bundle; {REMEDY}")
        size = file.stat().st_size
        if size != entry.bytes:
            raise ModelError(f"{file}: {size} bytes, {entry.bytes} expected; {REMEDY}")
        if known.holds(file, entry.sha256):
            continue
        if sha256(file) != entry.sha256:
            raise ModelError(f"{file}: its content does not match its hash; {REMEDY}")
        known.add(file, entry.sha256)
    known.save()


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; raises ModelError if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read ({error.strerror}); check its permissions and its disk"
        ) from None


_CACHE_NAME = "verified.json"
LARGE = 32 << 20
"""Bytes below which a file is hashed each time, which takes no longer than looking it up."""


class HashCache:
    """Remembers which large files matched their hash, so that opening a bundle does not read them
    again: by path, size, time of change and hash."""

    def __init__(self) -> None:
        self._known: dict[str, str] | None = None
        self._changed = False

    def holds(self, file: Path, sha256: str) -> bool:
        """Whether this very file was found to have that hash, and has not changed since."""
        return self._large(file) and self._load().get(self._key(file)) == sha256

    def add(self, file: Path, sha256: str) -> None:
        if self._large(file):
            self._load()[self._key(file)] = sha256
            self._changed = True

    def save(self) -> None:
        """Writes what was added; if the cache cannot be written, nothing is remembered."""
        if not self._changed:
            return
        try:
            path = cache_folder() / _CACHE_NAME
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            partial.write_text(json.dumps(self._known), encoding="utf-8")
            partial.replace(path)
        except (OSError, KyutaiOnnxError):
            return

    def _load(self) -> dict[str, str]:
        if self._known is None:
            try:
                self._known = dict(parse_json(read_bounded(cache_folder() / _CACHE_NAME)))
            except (OSError, TypeError, ValueError, KyutaiOnnxError):
                self._known = {}
        return self._known

    @staticmethod
    def _large(file: Path) -> bool:
        return file.stat().st_size >= LARGE

    @staticmethod
    def _key(file: Path) -> str:
        status = file.stat()
        return f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}"
