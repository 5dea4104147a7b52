"""From the flags of `serve` to a server that runs until it is interrupted."""

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.hub.resolve import VARIABLE
from .messages import say
from .packages import require

if TYPE_CHECKING:
    from ..server.config import ServerConfig
    from ..server.server import Server


@dataclass(frozen=True)
class Flags:
    """What the command line says; `given` are fields of `ServerConfig`."""

    file: Path | None = None
    models: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()
    certificate: tuple[Path, Path] | None = None
    self_signed: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


def configured(flags: Flags) -> "tuple[ServerConfig, list[str]]":
    """What the server is told, flags before the file, and notes; raises UsageError."""
    from ..server.config import ModelConfig, ServerConfig, Tls, read_config, read_keys

    config, notes = read_config(flags.file) if flags.file else (ServerConfig(), [])
    changes = dict(flags.given)
    models = flags.models or (() if config.models else _usual_model())
    if models:
        changes["models"] = tuple(ModelConfig(model=model) for model in models)
    if flags.api_keys:
        changes["api_keys"] = read_keys(flags.api_keys)
    if flags.certificate is not None:
        cert, key = map(str, flags.certificate)
        changes["tls"] = Tls(cert, key, self_signed=flags.self_signed)
    elif flags.self_signed:
        changes["tls"] = Tls(self_signed=True)
    config = dataclasses.replace(config, **changes)
    config.check()
    return config, notes


def run_server(flags: Flags, *, quiet: bool, debug: bool) -> None:
    """Serves until the process is told to end. Raises UsageError for what cannot be, ModelError
    and ProviderError for models that cannot be loaded, ListenError for a port that is taken."""
    require("serve", "aiohttp", "av", "msgspec", "multipart", "prometheus_client")
    from ..server.registry import load_models
    from ..server.server import Server
    from ..server.web.logs import open_log

    config, notes = configured(flags)
    for note in notes:
        say(note, quiet=quiet)
    open_log(as_json=config.json_logs, quiet=quiet, debug=debug)
    registry = load_models(config, lambda note: say(note, quiet=quiet))
    asyncio.run(Server(config, registry).run(lambda server: _tell(server, quiet=quiet)))


def _tell(server: "Server", *, quiet: bool) -> None:
    names = ", ".join(f"{served.name} ({served.engine.slots})" for served in server.registry.all)
    if server.wyoming_port is not None:
        say(f"Wyoming at {server.config.wyoming_host}:{server.wyoming_port}", quiet=quiet)
    say(f"serving {names} at {server.url}", quiet=quiet)


def _usual_model() -> tuple[str, ...]:
    """What the environment names."""
    named = os.environ.get(VARIABLE)
    return (named,) if named else ()
