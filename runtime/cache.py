"""Where this program keeps what it made or fetched and can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where this program keeps what it can make again: `KYUTAI_ONNX_CACHE` or the user's cache."""
    chosen = os.environ.get("KYUTAI_ONNX_CACHE")
    if chosen:
        return Path(chosen)
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "kyutai-onnx"


def bundles_folder() -> Path:
    """Where bundles go that were given no place of their own."""
    return cache_folder() / "bundles"
