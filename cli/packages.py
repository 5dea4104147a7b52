"""Packages that come with an extra alone."""

import importlib.util

from ..runtime.errors import UsageError


def require(extra: str, *packages: str) -> None:
    """Raises UsageError where one of them is not installed, with how to get it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"not installed: {', '.join(missing)}; run 'pip install \"kyutai-onnx[{extra}]\"'"
        )
