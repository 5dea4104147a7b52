"""The file that holds a repository's weights, by its name, in whichever form it is."""

from collections.abc import Callable
from pathlib import Path

from ...runtime.errors import UsageError
from ...runtime.hub import RemoteFile
from .repository import Repository
from .safetensors_file import RemoteSafetensors, SafetensorsFile, SafetensorsShards
from .tensor_views import Tensors

SAFETENSORS = (".safetensors", ".sft", ".sfts")
DEFAULT = "model.safetensors"

MERGED = "consolidated.safetensors"
"""A fine-tune with its adapter merged in (moshi-finetune finetune/checkpointing.py)."""

OTHERS = (MERGED, "model.q8.safetensors", "model.q8.gguf", "model.q4.safetensors")
"""Names that Kyutai's programs ask for themselves, so that configurations leave them out
(moshi_mlx local.py, moshi-backend config-q8.json)."""


def find_weights_file(repository: Repository, name: str) -> str | None:
    """The name of the weights that the repository has, None if it has none.

    `name` is what the configuration says. If that is what it says by default, a repository without
    such a file is searched for one of `OTHERS`, the most exact first.
    """
    names = (DEFAULT, *OTHERS) if name == DEFAULT else (name,)
    return next((found for found in names if _has(repository, found)), None)


def _has(repository: Repository, name: str) -> bool:
    return (
        _remote(repository, name) is not None
        or repository.optional(name) is not None
        or _index(repository, name) is not None
    )


def _remote(repository: Repository, name: str) -> RemoteFile | None:
    return repository.remote(name) if name.endswith(SAFETENSORS) else None


def _index(repository: Repository, name: str) -> Path | None:
    return repository.optional(f"{name}.index.json") if name.endswith(SAFETENSORS) else None


def open_weights_file(repository: Repository, name: str) -> Tensors:
    """The tensors of a file by its name in the configuration; it may come in shards.

    Raises:
        ModelError: the file is missing, damaged, or of a form that is not read.
        UsageError: packages are missing that read files of its form.
    """
    read = _reader(name)
    if (remote := _remote(repository, name)) is not None:
        return RemoteSafetensors(remote)
    path = repository.optional(name)
    index = _index(repository, name) if path is None else None
    if index is not None:
        folder = name.removesuffix(name.rpartition("/")[2])
        return SafetensorsShards(index, lambda shard: _open_shard(repository, folder + shard))
    return read(path or repository.file(name))


def _open_shard(repository: Repository, name: str) -> Tensors:
    remote = _remote(repository, name)
    return SafetensorsFile(repository.file(name)) if remote is None else RemoteSafetensors(remote)


def _reader(name: str) -> Callable[[Path], Tensors]:
    """How a file is read, by what its name ends in; only safetensors need no more packages."""
    if name.endswith(SAFETENSORS):
        return SafetensorsFile
    try:
        if name.endswith(".gguf"):
            from .gguf_file import GgufFile

            return GgufFile
        from .pickle_file import PickleFile
    except ImportError as error:
        raise UsageError(
            f"reading {name} needs more packages ({error.name} is missing); run "
            "'pip install \"kyutai-onnx[cpu,export]\"'"
        ) from None
    return PickleFile
