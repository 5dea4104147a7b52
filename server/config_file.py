"""One TOML file for a server: our own keys, or those of moshi-server's configurations."""

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..runtime.bundle.dataclass_json import parse, read_bounded
from ..runtime.errors import UsageError
from .config import Bounds, ModelConfig, ServerConfig, Tls
from .moshi_config import MODULES, translate

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


def read_config(path: Path) -> tuple[ServerConfig, list[str]]:
    """What a file says, not checked yet, and notes on what it says in vain.

    `$NAME` in a string stands for the environment's variable. Raises UsageError for a file that
    cannot be read, a variable that is not set, a key that nobody knows or a value of another kind.
    """
    try:
        content = tomllib.loads(read_bounded(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read as TOML ({reason})") from None
    notes: list[str] = []
    try:
        content = expanded(content)
        if MODULES in content:
            content, notes = translate(content)
        return config_of(content), [f"{path}: {note}" for note in notes]
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def config_of(content: Mapping[str, Any]) -> ServerConfig:
    """A table with the names of `ServerConfig`, in which `models`, `limits` and `tls` are tables
    themselves; `none` is a limit that there is not. Raises ValueError."""
    check_keys(ServerConfig, content, "")
    models = parse(tuple[dict[str, Any], ...], content.get("models", []), "models")
    for index, model in enumerate(models):
        check_keys(ModelConfig, model, f"models[{index}].")
    for name, kind in (("limits", Bounds), ("tls", Tls)):
        check_keys(kind, parse(dict[str, Any], content.get(name, {}), name), f"{name}.")
    limits = {name: None if v == "none" else v for name, v in content.get("limits", {}).items()}
    config = parse(ServerConfig, {**content, "limits": limits})
    return dataclasses.replace(config, api_keys=read_keys(config.api_keys))


def read_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Keys as they are, or those of `@FILE`, one a line; raises UsageError for such a file that
    is missing or has none."""
    found: list[str] = []
    for key in keys:
        if not key.startswith("@"):
            found.append(key)
            continue
        try:
            lines = Path(key[1:]).read_text("utf-8").split()
        except (OSError, ValueError):
            raise UsageError(f"api keys: {key[1:]} cannot be read") from None
        if not lines:
            raise UsageError(f"api keys: {key[1:]} has none")
        found += lines
    return tuple(dict.fromkeys(found))


def expanded(value: Any) -> Any:
    """A value with the environment's variables in its strings; raises ValueError."""
    if isinstance(value, dict):
        return {name: expanded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [expanded(item) for item in value]
    return _VARIABLE.sub(_variable, value) if isinstance(value, str) else value


def _variable(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if name not in os.environ:
        raise ValueError(f"${name}: there is no such variable in the environment")
    return os.environ[name]


def check_keys(kind: type[Any], table: Mapping[str, Any], place: str) -> None:
    """Raises ValueError naming the keys that `kind` does not have."""
    unknown = [key for key in table if key not in {f.name for f in dataclasses.fields(kind)}]
    if unknown:
        raise ValueError(f"unknown: {', '.join(place + key for key in unknown)}")
