"""`info`: what a bundle is."""

import json
from typing import Annotated

import typer

from .. import options


def info(
    model: Annotated[
        str | None,
        typer.Argument(help="Bundle folder, exported repository or hf://owner/name."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest itself.")] = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Show a bundle's family, sizes, precision, graphs, states and source."""
    from ...runtime.bundle.dataclass_json import dump
    from ..load import open_model
    from ..summary import summary

    bundle = open_model(model, quiet)
    if as_json:
        print(json.dumps(dump(bundle.manifest), indent=2, ensure_ascii=False))
    else:
        print(summary(bundle))
