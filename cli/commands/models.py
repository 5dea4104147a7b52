"""`models`: the models that can be had, and those that are here."""

from typing import Annotated

from .. import options
from ..messages import print_note
from ..options import option

app = options.new_app()


@app.command()
@options.with_groups
def models(
    *,
    remove: Annotated[
        str | None,
        option(
            "--remove",
            metavar="NAME",
            help="Remove the bundles and the unfinished download of a repository, or one bundle.",
        ),
    ] = None,
    general: options.General,
) -> None:
    """List the models on this machine, and those to download.

    Prints for each the name, what is here, its size and its folder. A model that is not here is
    downloaded and converted at its first use.
    """
    from ...conversion.filling.shipped import REPOSITORIES
    from ...models.cached_models import cached_models, remove_model

    if remove is not None:
        for model in remove_model(remove):
            print_note(f"removed {model.path} ({_size(model.bytes)})", quiet=general.quiet)
        return
    found = cached_models()
    for model in found:
        print(model.name, model.state, _size(model.bytes), model.path, sep="\t")
    here = {model.name for model in found}
    for name in REPOSITORIES:
        if name not in here:
            print(name, "not here", sep="\t")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
