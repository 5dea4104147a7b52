"""`publish`: a bundle, uploaded to the Hugging Face Hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .. import options
from ..messages import print_note
from ..options import argument, option

if TYPE_CHECKING:
    from ...conversion.publication import Publication

app = options.new_app()

LICENSES = {
    "other": "other: not known here; see the page of {source}, and publish only if it permits that",
    "cc-by-nc-4.0": "cc-by-nc-4.0: non-commercial; see the page of {source} for its conditions",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0: non-commercial, shared under the same licence; see the "
    "page of {source} for its conditions",
}


@app.command()
@options.with_groups
def publish(
    bundle: Annotated[Path, argument(metavar="BUNDLE", help="Folder of the bundle.")],
    repo: Annotated[
        str, argument(metavar="OWNER/NAME", help="Repository of the Hugging Face Hub.")
    ],
    *,
    push: Annotated[
        bool, option("--push", help="Upload. Without it the command only prints what it would do.")
    ] = False,
    general: options.General,
) -> None:
    """Publish a bundle on the Hugging Face Hub.

    The bundle becomes a variant of the model in the repository, in a folder for its target and
    precision; it replaces the variant in that folder and keeps all others. The repository gets a
    card and an index, by which --model hf://owner/name picks a variant.
    """
    from ...conversion.publication import Publication

    planned = Publication.plan(bundle, repo)
    if push:
        planned.push()
        print_note(f"published {planned.variant.folder}", quiet=general.quiet)
        print(f"hf://{repo}")
        return
    for row in _rows(planned):
        print(*row, sep="\t")
    print_note("nothing was uploaded; --push uploads it", quiet=general.quiet)


def _rows(planned: "Publication") -> Iterator[tuple[str, ...]]:
    manifest, variant = planned.bundle.manifest, planned.variant
    yield "repository", planned.repo, "new" if planned.state is None else planned.state.revision
    same = planned.replaced is not None and planned.replaced.sha256 == variant.sha256
    state = "unchanged" if same else "replaced" if planned.replaced else "new"
    yield "variant", variant.folder, state
    text = LICENSES.get(planned.license, planned.license)
    yield "license", text.format(source=manifest.source.repository)
    yield "size", _size(sum(map(_length, planned.files.values())))
    for name, content in planned.files.items():
        yield "upload", name, _size(_length(content))
    for name in planned.removed:
        yield "remove", name
    for one in planned.new_index.variants:
        yield "index", str(one), _size(one.bytes)


def _length(content: "Path | bytes") -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
