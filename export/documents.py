"""JSON and TOML files whose outermost value is an object."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from ..runtime.errors import ModelError


def read_json(path: Path) -> Mapping[str, object]:
    """A JSON object."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds no JSON object")
    return values


def read_toml(path: Path) -> Mapping[str, object]:
    """A TOML document."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not TOML: {error}") from error
