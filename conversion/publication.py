"""A bundle on its way to the Hub: one of the variants of a model in a repository."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..runtime.bundle.bundle import Bundle, sha256
from ..runtime.bundle.dataclass_json import dump
from ..runtime.bundle.manifest import FILE_NAME
from ..runtime.bundle.variants import (
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    Variant,
    VariantIndex,
    read_index,
)
from ..runtime.errors import UsageError
from ..runtime.hub import RepositoryState, download_file, find_repository, upload
from .filling.card import license_name, repository_card

CARD = "README.md"
MAY_BE_THERE = {CARD, "LICENSE", ".gitattributes", ".gitignore"}
"""Files that do not make a repository one of something else."""


@dataclass(frozen=True)
class Publication:
    """What publishing a bundle changes; `state` and `index` are those of the repository before."""

    bundle: Bundle
    repo: str
    state: RepositoryState | None
    index: VariantIndex | None

    @classmethod
    def plan(cls, path: Path, repo: str) -> "Publication":
        """Check a bundle, and ask the Hub what is in the repository.

        Raises:
            UsageError: the name is invalid, or the repository is not one for this model.
            ModelError: the bundle is missing or damaged, or the Hub cannot be reached.
        """
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
            raise UsageError(f"{repo!r} is not a name of the form owner/name, such as me/my-model")
        bundle = Bundle.open(path)
        state = find_repository(repo)
        index = None
        if state is not None and INDEX in state.files:
            index = read_index(download_file(repo, INDEX, state.revision))
        _check(repo, bundle, state, index)
        return cls(bundle, repo, state, index)

    @cached_property
    def variant(self) -> Variant:
        manifest, files = self.bundle.manifest, self.bundle.manifest.files
        file = self.bundle.path / FILE_NAME
        return Variant(
            folder=f"{manifest.target}-{manifest.precision}",
            target=manifest.target,
            precision=manifest.precision,
            minimum_onnxruntime=manifest.minimum_onnxruntime,
            bytes=sum(entry.bytes for entry in files.values()) + file.stat().st_size,
            sha256=sha256(file),
        )

    @property
    def replaced(self) -> Variant | None:
        """The variant in the repository whose place the bundle takes."""
        there = self.index.variants if self.index else ()
        return next((one for one in there if one.folder == self.variant.folder), None)

    @property
    def license(self) -> str:
        """The licence of the weights, as the Hub calls it."""
        return license_name(self.bundle.manifest)

    @cached_property
    def new_index(self) -> VariantIndex:
        there = self.index.variants if self.index else ()
        kept = [one for one in there if one.folder != self.variant.folder]
        variants = tuple(sorted([*kept, self.variant], key=lambda one: one.folder))
        manifest = self.bundle.manifest
        return VariantIndex(FORMAT, FORMAT_VERSION, manifest.name, manifest.family, variants)

    @cached_property
    def files(self) -> dict[str, Path | bytes]:
        """What is uploaded, by the names in the repository."""
        bundle, index = self.bundle, self.new_index
        names = [FILE_NAME, *bundle.manifest.files]
        own = {f"{self.variant.folder}/{name}": bundle.file(name) for name in names}
        listing = json.dumps(dump(index), indent=2) + "\n"
        card = repository_card(bundle.manifest, self.repo, index)
        return {**own, INDEX: listing.encode(), CARD: card.encode()}

    @property
    def removed(self) -> list[str]:
        """Files of the variant that is replaced which the bundle does not have."""
        there = self.state.files if self.state else []
        inside = f"{self.variant.folder}/"
        return [name for name in there if name.startswith(inside) and name not in self.files]

    def push(self) -> None:
        """Upload the files in one commit; raises ModelError."""
        message = f"Publish {self.bundle.manifest.name} in {self.variant.folder}"
        upload(self.repo, self.files, self.removed, self.state, message)


def _check(
    repo: str, bundle: Bundle, state: RepositoryState | None, index: VariantIndex | None
) -> None:
    manifest = bundle.manifest
    if index is not None and (index.name, index.family) != (manifest.name, manifest.family):
        raise UsageError(
            f"{repo} holds {index.name} ({index.family}), and {bundle.path} is {manifest.name} "
            f"({manifest.family}); publish it to another repository"
        )
    others = sorted(set(state.files) - MAY_BE_THERE) if state else []
    if index is None and others:
        raise UsageError(
            f"{repo} holds other files, such as {others[0]}, and no {INDEX}; publish to another "
            "repository"
        )
