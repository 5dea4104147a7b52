"""From what a user calls a model to the folder of a bundle."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..conversion.filling.targets import TARGETS
from ..runtime.bundle.bundle import Bundle, read_manifest, sha256
from ..runtime.bundle.manifest import FILE_NAME, Precision, is_bundle
from ..runtime.bundle.variants import Variant, read_index
from ..runtime.cache_folder import bundles_folder
from ..runtime.errors import KyutaiOnnxError, ModelError
from ..runtime.output_file import is_folder
from ..runtime.providers.provider import load_onnxruntime, target_of
from .families import DEFAULT, DEMO, FAMILIES, Family, Task, demo_names

LOG = logging.getLogger(__name__)

HUB = "hf://"
VARIABLE = "KYUTAI_ONNX_MODEL"
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Wanted:
    """Which bundle of a repository is used, and made at the first use.

    `precision` and `provider` choose it: int8 for the CPU and fp16 for others by default. `only` is
    the family that a model must have to be downloaded; `offline` downloads nothing. `note` gets the
    lines for the user, `progress` how far the work is.
    """

    precision: Precision | None = None
    provider: str = "auto"
    only: Family | None = None
    offline: bool = False
    note: Callable[[str], object] = LOG.warning
    progress: Progress = lambda *_: None


@dataclass(frozen=True)
class ResolvedBundle:
    """A bundle's folder, and a note for the user if the choice needs one."""

    path: Path
    note: str | None = None


def locate(
    model: str | os.PathLike[str] | None, family: Family = DEFAULT, wanted: Wanted | None = None
) -> ResolvedBundle:
    """Find a bundle by a folder, by the repository it was made from, by `hf://owner/name`, or an
    embedded demo by its name, such as `demo/tts`.

    Without a name it is the environment's KYUTAI_ONNX_MODEL, and without that the family's embedded
    demo. A repository of the Hub that has no bundle here is downloaded and converted.

    Raises ModelError if there is none, and as the conversion does.
    """
    wanted = wanted or Wanted()
    chosen = model or os.environ.get(VARIABLE)
    if not chosen:
        return embedded_demo(family)
    name = os.fspath(chosen)
    if name.startswith(HUB):
        return _published(name, wanted)
    if is_bundle(Path(name)):
        return ResolvedBundle(Path(name))
    exported = exported_bundles(name, wanted.precision)
    if not exported and (demo := _named_demo(name)):
        return ResolvedBundle(demo)
    if not exported and REPOSITORY.fullmatch(name) and not is_folder(name):
        return ResolvedBundle(_converted(name, wanted))
    if not exported:
        raise ModelError(_missing(name))
    newest = max(exported, key=lambda path: (path / FILE_NAME).stat().st_mtime)
    note = (
        f"using {newest}"
        if len(exported) == 1
        else (f"using {newest}, the newest of {len(exported)} exports of {name}")
    )
    return ResolvedBundle(newest, note)


def open_folder(path: Path) -> Bundle:
    """Open a checked bundle by its folder; the embedded demos share the codec of one of them.

    Raises ModelError as `Bundle.open` does.
    """
    with _removable(path):
        return Bundle.open(path, DEMO / (DEFAULT.demo.folder or "") if is_demo(path) else None)


@contextmanager
def _removable(path: Path) -> Iterator[None]:
    """Add to an error of a bundle in the cache how to remove it, after which it is made again."""
    try:
        yield
    except ModelError as error:
        if not _is_cached(path):
            raise
        raise ModelError(f"{error}; 'kyutai-onnx models --remove {path.name}' removes it") from None


def _is_cached(path: Path) -> bool:
    try:
        return path.parent == bundles_folder()
    except KyutaiOnnxError:  # a user without a home has no cache
        return False


def _published(name: str, wanted: Wanted) -> ResolvedBundle:
    """Download a bundle that was published, of several variants the one that is wanted."""
    from ..runtime.hub import download_bundle

    chosen: list[Variant] = []

    def choose(file: Path) -> str:
        index = read_index(file)
        _check_family(name, index.family, wanted.only)
        variant = index.choose(
            None if wanted.provider == "auto" else target_of(wanted.provider),
            wanted.precision,
            {target.name: target.default_precision for target in TARGETS.values()},
            load_onnxruntime().__version__,
        )
        chosen.append(variant)
        return variant.folder

    path = download_bundle(name.removeprefix(HUB), choose, offline=wanted.offline)
    if not chosen:
        return ResolvedBundle(path)
    if not is_bundle(path) or sha256(path / FILE_NAME) != chosen[0].sha256:
        raise ModelError(
            f"{name}: {chosen[0].folder} is not the bundle that its index names; ask its publisher"
        )
    return ResolvedBundle(path, f"using {chosen[0].folder} of {name}")


def _check_family(name: str, found: str, only: Family | None) -> None:
    if only is not None and only.task is not Task.CODEC and found != only.name:
        raise ModelError(_another(name, found, only))


def _converted(name: str, wanted: Wanted) -> Path:
    """Download and convert a repository of the Hub."""
    from huggingface_hub import constants

    if wanted.offline or constants.HF_HUB_OFFLINE:
        setting = "--offline" if wanted.offline else "HF_HUB_OFFLINE"
        raise ModelError(f"{_missing(name)}; {setting} keeps the model from being downloaded")
    from ..conversion.first_use import FirstUse
    from .calibration_run import cache_entries

    def check(found: str) -> None:
        _check_family(name, found, wanted.only)

    target = target_of(wanted.provider)
    use = FirstUse(
        name, target, wanted.precision, check, cache_entries, wanted.note, wanted.progress
    )
    return use.convert()


def embedded_demo(family: Family) -> ResolvedBundle:
    """Find the small model that ships with the package; raises ModelError if there is none."""
    demo = family.demo
    path = DEMO / (demo.folder or "")
    if not is_bundle(path):
        raise ModelError(
            f"there is no embedded demo for this: give a bundle or a repository, such as '--model "
            f"{demo.repository}'"
        )
    return ResolvedBundle(
        path,
        f"no --model given: using the embedded demo, a toy that {demo.knows}; it is not Kyutai's "
        f"model. For that one, which is downloaded at its first use: --model {demo.repository}",
    )


def is_demo(bundle: Path) -> bool:
    """Whether a bundle's folder is that of an embedded demo."""
    return bundle.resolve().is_relative_to(DEMO.resolve())


def _named_demo(name: str) -> Path | None:
    """The folder of a demo, by `demo/FOLDER` or by the name in its manifest."""
    for demo in demo_names():
        path = DEMO.parent / demo
        if is_bundle(path) and name in (demo, open_folder(path).manifest.name):
            return path
    return None


def exported_bundles(name: str, precision: Precision | None = None) -> list[Path]:
    """Bundles in the cache that were made from the repository of that name, of a precision if one
    is named; raises ModelError for one that is damaged then."""
    plain = name.replace("/", "--")
    found = [path for path in _all_exported() if path.name.rpartition("--")[0] == plain]
    return [p for p in found if precision is None or _precision(p) == precision]


def _precision(path: Path) -> Precision:
    with _removable(path):
        return read_manifest(path).precision


def exported_names() -> list[str]:
    """The names of all bundles in the cache."""
    return [path.name for path in _all_exported()]


def _all_exported() -> list[Path]:
    folder = bundles_folder()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if is_bundle(path)]


def _missing(name: str) -> str:
    if is_folder(name):
        return f"{name}: no {FILE_NAME} in this folder; give a bundle made by 'kyutai-onnx export'"
    demos = ", ".join(demo_names())
    repo, found, revision = name.partition("@")
    if found and REPOSITORY.fullmatch(repo):
        return (
            f"{name}: no folder of that name, and a revision is not chosen at the first use; run "
            f"'kyutai-onnx export --repo {repo} --revision {revision}', or name {repo}"
        )
    if _is_path(name):
        return f"{name}: there is no such folder; give a bundle's folder, or one of {demos}"
    return (
        f"{name}: no bundle of that name; make it with 'kyutai-onnx export --repo {name}', or give "
        f"a bundle's folder, hf://owner/name, or one of {demos}"
    )


def _is_path(name: str) -> bool:
    """Whether a name can only be meant as a path, since no repository is called so."""
    return (
        name.startswith((".", "~"))
        or Path(name).is_absolute()
        or not (re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", name))
    )


def _described(family: Family) -> str:
    return f"{family.name} ({family.task.replace('-', ' ')})"


def _another(name: object, found: str, family: Family) -> str:
    return (
        f"{name} is a model of {_described(FAMILIES[found])}, and {_described(family)} is "
        "needed; name another model, or use another command"
    )


def open_bundle(
    model: str | os.PathLike[str] | Bundle | None, family: Family, wanted: Wanted | None = None
) -> Bundle:
    """Open a checked bundle of one family; a codec is found in a bundle of any.

    Raises ModelError if it is missing, damaged or of another family, and as `locate` does.
    """
    wanted = replace(wanted or Wanted(), only=family)
    bundle = model if isinstance(model, Bundle) else open_folder(locate(model, family, wanted).path)
    found = bundle.manifest.family
    if family.task is not Task.CODEC and found != family.name:
        raise ModelError(
            _another(bundle.path if isinstance(model, Bundle) else model, found, family)
        )
    return bundle
