"""JSON and TOML files whose outermost value is an object."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from ...runtime.bundle.dataclass_json import parse_object, read_bounded
from ...runtime.errors import ModelError


def read_json(path: Path) -> Mapping[str, object]:
    """A JSON object."""
    try:
        return parse_object(read_bounded(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not a JSON object: {error}") from error


def read_toml(path: Path) -> Mapping[str, object]:
    """A TOML document."""
    try:
        return tomllib.loads(read_bounded(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not TOML: {error}") from error
