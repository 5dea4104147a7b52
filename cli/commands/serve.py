"""`serve`: a server of any models, for the clients of moshi-server, OpenAI and Wyoming."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import options


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Bundle folder, a repository exported before, or hf://owner/name[@rev]; as often "
            "as there are models. Default: KYUTAI_ONNX_MODEL, else the embedded demos.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8998; 0 takes any that is free.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings, our own or moshi-server's; flags win."),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="A key that opens the server, or @FILE with one a line.",
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let in others than this machine without a key.")
    ] = False,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Streams that a model runs at once; default: 4.")
    ] = None,
    static: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of a page to show instead of ours, or none."),
    ] = None,
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--tls", metavar="CERT KEY", help="Certificate and key in PEM, for https."),
    ] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="Https by a certificate made at the start.")
    ] = False,
    wyoming_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Speak Wyoming there, for Home Assistant: 10300."),
    ] = None,
    wyoming_host: Annotated[
        str | None, typer.Option(help="Address for that; default: 127.0.0.1.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A site whose pages may use the server; * is any."),
    ] = None,
    hub_voices: Annotated[
        bool,
        typer.Option("--hub-voices", help="Offer published voices too, downloaded when used."),
    ] = False,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log an object of JSON a line.")
    ] = False,
    provider: Annotated[str | None, typer.Option(help="See 'kyutai-onnx info --help'.")] = None,
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Serve models to many clients at once, with a page to try them."""
    from ..serving import Flags, run_server

    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "slots": slots,
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
    flags = Flags(
        file=config,
        models=tuple(model or ()),
        api_keys=tuple(api_key or ()),
        certificate=tls,
        self_signed=tls_self_signed,
        given={name: value for name, value in given.items() if value is not None},
    )
    run_server(flags, quiet=quiet, debug=debug)
