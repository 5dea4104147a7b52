"""`doctor`: what is installed here, what works, and which models this machine runs live."""

import json
from typing import Annotated

import typer

from .. import options


def doctor(
    model: options.Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was found as JSON.")] = False,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Tell versions, providers that really run, sound devices, the cache and the disk; time a
    bundle for two seconds, and say which models run live here."""
    from ..checkup import checkup, report

    found = checkup(
        model, provider=provider, threads=threads, allow_fallback=allow_fallback, quiet=quiet
    )
    print(json.dumps(found, indent=2) if as_json else "\n".join(report(found)))
