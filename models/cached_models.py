"""The models in the cache: bundles, and checkpoints whose download or conversion broke off."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..runtime.bundle.bundle import read_manifest
from ..runtime.bundle.manifest import FILE_NAME, is_bundle
from ..runtime.cache_folder import bundles_folder, downloads_folder
from ..runtime.errors import KyutaiOnnxError, ModelError, UsageError

UNFINISHED, UNREADABLE = "download", "unreadable"


@dataclass(frozen=True)
class CachedModel:
    """A folder of the cache: the repository that it is of, and its size in bytes. `state` is the
    precision and the target of a bundle, UNFINISHED, or UNREADABLE for a bundle that is damaged or
    of another version."""

    name: str
    state: str
    bytes: int
    path: Path


def cached_models() -> list[CachedModel]:
    """All models in the cache, by their names."""
    found = [_bundle(path) for path in _folders(bundles_folder()) if is_bundle(path)]
    for path in _folders(downloads_folder()):
        name = path.name.replace("--", "/", 1)
        found.append(CachedModel(name, UNFINISHED, _size(path), path))
    return sorted(found, key=lambda model: (model.name, model.state))


def remove_model(name: str) -> list[CachedModel]:
    """Remove all that the cache holds of a repository, or a bundle by the name of its folder.

    Raises:
        ModelError: there is nothing of that name.
        UsageError: another process downloads or converts it.
        KyutaiOnnxError: the system does not permit it.
    """
    from ..conversion.first_use import lock_of

    found = [model for model in cached_models() if name in (model.name, model.path.name)]
    if not found:
        raise ModelError(f"{name}: nothing of that name in the cache; see 'kyutai-onnx models'")
    for repo in {model.name for model in found}:
        with lock_of(repo) as alone:
            if not alone:
                raise UsageError(f"{repo}: another process converts it; wait until it is done")
            for model in found:
                _remove(model)
    return found


def _remove(model: CachedModel) -> None:
    """The manifest goes first, so that what is left of a bundle does not load. A link is removed,
    and not the folder that it leads to."""
    try:
        if model.path.is_symlink():
            model.path.unlink()
            return
        (model.path / FILE_NAME).unlink(missing_ok=True)
        if model.path.exists():
            shutil.rmtree(model.path)
    except OSError as error:
        raise KyutaiOnnxError(f"{model.path} cannot be removed ({error.strerror})") from None


def _bundle(path: Path) -> CachedModel:
    try:
        manifest = read_manifest(path)
    except ModelError:
        name = path.name.rpartition("--")[0].replace("--", "/", 1)
        return CachedModel(name, UNREADABLE, _size(path), path)
    state = f"{manifest.precision} for {manifest.target}"
    return CachedModel(manifest.source.repository, state, _size(path), path)


def _folders(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
