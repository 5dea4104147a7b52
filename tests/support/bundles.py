"""Bundles that are not as they should be, made from the embedded demo."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kyutai_onnx.models.resolve import DEMO

MANIFEST = "bundle.json"


def copy_demo(folder: Path, change: Callable[[dict[str, Any]], object] | None = None) -> Path:
    """A copy of the demo's bundle, its manifest changed."""
    shutil.copytree(DEMO / "stt", folder)
    if change is not None:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return folder


def without_heads(folder: Path) -> Path:
    """A bundle whose model has no pause heads."""
    return copy_demo(folder, lambda manifest: manifest["lm"].update(extra_heads=0))
