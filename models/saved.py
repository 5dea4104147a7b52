"""What is saved of a stream, stamped with the model that it fits."""

from typing import Any

from ..runtime.bundle import Bundle
from ..runtime.errors import UsageError


def stamp(bundle: Bundle, kind: str) -> dict[str, Any]:
    """Marks a saved stream with its model and kind."""
    return {"model": bundle.manifest.name, "identity": bundle.identity, "kind": kind}


def check_saved(saved: dict[str, Any], bundle: Bundle, kind: str) -> None:
    """Raises UsageError where a saved stream is of another model or kind."""
    if saved.get("kind") != kind:
        raise UsageError(f"this is a saved {saved.get('kind')} stream, not a {kind} one")
    if saved.get("identity") != bundle.identity:
        raise UsageError(
            f"this stream was saved from {saved.get('model')}, not from the weights of "
            f"{bundle.manifest.name}"
        )
