"""`bench`: how fast a bundle runs on this machine."""

import json
from typing import Annotated

import typer

from .. import options


def bench(
    model: options.Model = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames that are timed.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Streams side by side.")] = 1,
    codebooks: Annotated[
        int | None, typer.Option(min=1, help="Make only so many codebooks of speech.")
    ] = None,
    guided: Annotated[
        bool, typer.Option("--guided", help="With guidance, as --cfg-coef does in translate.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    provider: options.Provider = "auto",
    allow_fallback: options.AllowFallback = False,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Time a bundle on this machine, as after hours of use: every ring full."""
    from ...models.frame_benchmark import FrameBenchmark
    from ..bench_report import figures, table
    from ..load import open_model

    loop = FrameBenchmark(
        open_model(model, quiet),
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
        batch=batch,
        codebooks=codebooks,
        guided=guided,
    )
    found = figures(loop, loop.time(frames))
    print(json.dumps(found, indent=2) if as_json else table(found))
