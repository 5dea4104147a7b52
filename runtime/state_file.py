"""Stream states in files: nested dictionaries of arrays and plain values, as `.npz`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .bundle.dataclass_json import parse_object
from .errors import ModelError
from .npz import read_arrays
from .output_file import output_file

META = "kyutai-onnx"


def write_state(path: Path | str, state: dict[str, Any]) -> None:
    """Writes what a stream's `save` returned; raises KyutaiOnnxError if the disk refuses."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    plain = _split(state, "", arrays)
    content = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    with output_file(path) as file:
        np.savez(file, **{META: content}, **arrays)  # type: ignore[arg-type]


def read_state(path: Path | str) -> dict[str, Any]:
    """Reads a state file; raises ModelError if it is another file or damaged."""
    try:
        arrays = read_arrays(path)
        return _join(parse_object(bytes(arrays[META])), "", arrays)
    except KeyError as error:
        raise ModelError(f"{path}: not a saved stream (it has no array {error})") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a saved stream ({error})") from None


def _split(state: dict[str, Any], prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            plain[name] = _split(value, f"{prefix}{name}/", arrays)
        elif isinstance(value, np.ndarray):
            arrays[f"{prefix}{name}"] = value
            plain[name] = {META: "array"}
        else:
            plain[name] = value
    return plain


def _join(plain: dict[str, Any], prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, value in plain.items():
        if value == {META: "array"}:
            state[name] = arrays[f"{prefix}{name}"]
        elif isinstance(value, dict):
            state[name] = _join(value, f"{prefix}{name}/", arrays)
        else:
            state[name] = value
    return state
