"""Where this program keeps what it made or fetched and can make or fetch again."""

import os
from pathlib import Path

from .errors import KyutaiOnnxError

CACHE = ("XDG_CACHE_HOME", ".cache")


def cache_folder() -> Path:
    """Where this program keeps what it can make again: `KYUTAI_ONNX_CACHE` or the user's cache.

    Raises KyutaiOnnxError if there is neither, as for a user without a home.
    """
    chosen = os.environ.get("KYUTAI_ONNX_CACHE")
    if chosen:
        return _expanded(chosen)
    variable, usual = ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else CACHE
    try:
        return Path(os.environ.get(variable) or Path.home() / usual) / "kyutai-onnx"
    except RuntimeError:
        raise KyutaiOnnxError(
            "there is no home folder for a cache; set KYUTAI_ONNX_CACHE to a folder"
        ) from None


def _expanded(chosen: str) -> Path:
    try:
        return Path(chosen).expanduser()
    except RuntimeError:
        raise KyutaiOnnxError(
            f"KYUTAI_ONNX_CACHE={chosen}: there is no such home folder; give a full path"
        ) from None


def downloads_folder() -> Path:
    """Where checkpoints lie that are being downloaded to be converted."""
    return cache_folder() / "downloads"


def bundles_folder() -> Path:
    """Where bundles go that were given no place of their own."""
    return cache_folder() / "bundles"
