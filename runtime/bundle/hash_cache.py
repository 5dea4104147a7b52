"""Which large files were found right before, so that opening a bundle does not read them again."""

import json
import os
import threading
from pathlib import Path

from ..cache import cache_folder
from ..errors import KyutaiOnnxError
from .dataclass_json import parse_json, read_bounded

NAME = "verified.json"
LARGE = 32 << 20
"""Smaller files are hashed each time: it takes no longer than looking them up."""


class Verified:
    """Remembers a file by its path, size, time of change and hash."""

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
        """Writes what was added; where the cache cannot be written, nothing is remembered."""
        if not self._changed:
            return
        try:
            path = cache_folder() / NAME
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            partial.write_text(json.dumps(self._known), encoding="utf-8")
            partial.replace(path)
        except (OSError, KyutaiOnnxError):
            return

    def _load(self) -> dict[str, str]:
        if self._known is None:
            try:
                self._known = dict(parse_json(read_bounded(cache_folder() / NAME)))
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
