"""`serve`: a server of any models, for the clients of moshi-server, OpenAI and Wyoming."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ...runtime.errors import UsageError
from .. import options
from ..messages import print_note, progress_bar
from ..option_values import WhenFull
from ..options import HARDWARE, MODEL, MODELS, option

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Precision
    from ...server.config import ServerConfig
    from ...server.server import Server

NETWORK, ACCESS, BALANCER, LOGS = "Network", "Access", "Behind a balancer", "Logs"
app = options.new_app()


@app.command()
@options.with_groups
def serve(
    *,
    model: Annotated[
        list[str] | None,
        option(
            "--model",
            metavar="M",
            panel=MODEL,
            help=f"{MODELS}. Repeat it for more models. Default: KYUTAI_ONNX_MODEL, else the "
            "embedded demos.",
        ),
    ] = None,
    precision: options.BundlePrecision = None,
    slots: Annotated[
        int | None,
        option("--slots", min=1, panel=MODEL, help="Streams per model at once. Default: 4."),
    ] = None,
    hub_voices: Annotated[
        bool,
        option(
            "--hub-voices",
            panel=MODEL,
            help="Offer the voices on the Hub too; each is downloaded when first used.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        option(
            "--config",
            metavar="FILE.toml",
            help="Settings of this server, or a configuration of moshi-server. Options win.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        option("--host", panel=NETWORK, help="Address to listen on. Default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        option(
            "--port",
            min=0,
            max=65535,
            panel=NETWORK,
            help="Port to listen on; 0 is any free port. Default: 8998.",
        ),
    ] = None,
    tls: Annotated[
        tuple[Path, Path] | None,
        option(
            "--tls",
            metavar="CERT KEY",
            panel=NETWORK,
            help="Certificate and key in PEM format, for https.",
        ),
    ] = None,
    tls_self_signed: Annotated[
        bool,
        option(
            "--tls-self-signed",
            panel=NETWORK,
            help="Serve https with a certificate of its own, and print its fingerprint.",
        ),
    ] = False,
    wyoming_port: Annotated[
        int | None,
        option(
            "--wyoming-port",
            min=0,
            max=65535,
            panel=NETWORK,
            help="Port for Wyoming, the protocol of Home Assistant, usually 10300.",
        ),
    ] = None,
    wyoming_host: Annotated[
        str | None,
        option("--wyoming-host", panel=NETWORK, help="Address for Wyoming. Default: 127.0.0.1."),
    ] = None,
    static: Annotated[
        str | None,
        option(
            "--static",
            metavar="DIR",
            panel=NETWORK,
            help="Folder of a web page to show instead of the built-in one, or none.",
        ),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        option(
            "--api-key",
            metavar="KEY",
            panel=ACCESS,
            help="API key for clients, or @FILE with one key per line. May be repeated.",
        ),
    ] = None,
    no_auth: Annotated[
        bool,
        option("--no-auth", panel=ACCESS, help="Accept other machines without an API key."),
    ] = False,
    cors: Annotated[
        list[str] | None,
        option(
            "--cors",
            metavar="ORIGIN",
            panel=ACCESS,
            help="Site whose pages may use the server; * is any. May be repeated.",
        ),
    ] = None,
    when_full: Annotated[
        WhenFull | None,
        option(
            "--when-full",
            panel=BALANCER,
            help="How to refuse a websocket if no slot is free. message: after the upgrade, as "
            "moshi-server does. 503: by that status before the upgrade, so that a balancer tries "
            "another server. Default: message.",
        ),
    ] = None,
    drain: Annotated[
        float | None,
        option(
            "--drain",
            metavar="SECONDS",
            min=0,
            panel=BALANCER,
            help="Time for sessions to end after a signal to stop. Default: 10.",
        ),
    ] = None,
    instance: Annotated[
        str | None,
        option(
            "--instance",
            metavar="NAME",
            panel=BALANCER,
            help="Name of this server in its answers, metrics and JSON logs. Default: the name "
            "of the machine.",
        ),
    ] = None,
    json_logs: Annotated[
        bool, option("--json-logs", panel=LOGS, help="Log a JSON object per line.")
    ] = False,
    provider: Annotated[
        str | None,
        option(
            "--provider",
            panel=HARDWARE,
            help="auto (the provider that a bundle was exported for), cpu, cuda, cuda-graphs, "
            "directml, webgpu or coreml. Default: auto.",
        ),
    ] = None,
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    general: options.General,
) -> None:
    """Serve models to many clients, with a web page."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "slots": slots,
        "when_full": when_full and when_full.value,
        "drain": drain,
        "instance_name": instance,
        "static": static,
        "wyoming_port": wyoming_port,
        "wyoming_host": wyoming_host,
        "cors": tuple(cors) if cors else None,
        "provider": provider,
        "threads": threads,
        "no_auth": no_auth or None,
        "hub_voices": hub_voices or None,
        "json_logs": json_logs or None,
        "allow_fallback": allow_fallback or None,
    }
    flags = ServerFlags(
        file=config,
        models=tuple(model or ()),
        precision=None if precision is None else precision.value,
        api_keys=tuple(api_key or ()),
        certificate=tls,
        self_signed=tls_self_signed,
        given={name: value for name, value in given.items() if value is not None},
    )
    run_server(flags, quiet=general.quiet, debug=general.debug)


@dataclass(frozen=True)
class ServerFlags:
    """The options of the command line; `given` are fields of `ServerConfig`."""

    file: Path | None = None
    models: tuple[str, ...] = ()
    precision: "Precision | None" = None
    api_keys: tuple[str, ...] = ()
    certificate: tuple[Path, Path] | None = None
    self_signed: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


def configured(flags: ServerFlags) -> "tuple[ServerConfig, list[str]]":
    """Return the configuration, in which options win over the file, and notes.

    Raises UsageError for an invalid configuration.
    """
    from ...server.config import ModelConfig, ServerConfig, Tls, read_config, read_keys

    config, notes = read_config(flags.file) if flags.file else (ServerConfig(), [])
    changes = dict(flags.given)
    named = flags.models or (() if config.models else _usual_model())
    if named:
        changes["models"] = tuple(ModelConfig(model=model) for model in named)
    if flags.api_keys:
        changes["api_keys"] = read_keys(flags.api_keys)
    if flags.certificate is not None:
        cert, key = map(str, flags.certificate)
        changes["tls"] = Tls(cert, key, self_signed=flags.self_signed)
    elif flags.self_signed:
        changes["tls"] = Tls(self_signed=True)
    config = dataclasses.replace(config, **changes)
    if flags.precision is not None:
        if not config.models:
            raise UsageError("--precision: there is no model to choose it for; give '--model'")
        models = (dataclasses.replace(m, precision=flags.precision) for m in config.models)
        config = dataclasses.replace(config, models=tuple(models))
    config.check()
    return config, notes


def run_server(flags: ServerFlags, *, quiet: bool, debug: bool) -> None:
    """Serve until the process is asked to end. Whatever needs no model is checked before any is
    loaded.

    Raises UsageError for an invalid configuration, ListenError for a port that is taken, ModelError
    and ProviderError for models that cannot be loaded, and as `Server.run` does.
    """
    import asyncio

    from ..load import require

    require("serve", "aiohttp", "av", "msgspec", "multipart", "prometheus_client", "wyoming")
    from ...server.registry import load_models
    from ...server.server import Server
    from ...server.web.logs import open_log

    config, notes = configured(flags)
    for note in notes:
        print_note(note, quiet=quiet)
    open_log(instance=config.instance_name if config.json_logs else None, quiet=quiet, debug=debug)
    with Server(config) as server:
        with progress_bar(quiet=quiet) as show, server.preparing() as answer:

            def progress(what: str, done: int, total: int) -> None:
                if answer(what, done, total):
                    print_note(f"until it serves, {server.url} shows how far it is", quiet=quiet)
                show(what, done, total)

            registry = load_models(config, lambda note: print_note(note, quiet=quiet), progress)
        asyncio.run(server.run(registry, lambda server: _report(server, quiet=quiet)))


def _report(server: "Server", *, quiet: bool) -> None:
    names = ", ".join(f"{served.name} ({served.engine.slots})" for served in server.registry.all)
    if server.wyoming_port is not None:
        print_note(f"Wyoming at {server.config.wyoming_host}:{server.wyoming_port}", quiet=quiet)
    if server.fingerprint is not None:
        print_note(f"for clients: --tls-fingerprint {server.fingerprint}", quiet=quiet)
    print_note(f"serving {names} at {server.url}", quiet=quiet)


def _usual_model() -> tuple[str, ...]:
    """Return the model that the environment names."""
    from ...models.resolve import VARIABLE

    named = os.environ.get(VARIABLE)
    return (named,) if named else ()
