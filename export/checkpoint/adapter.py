"""Which LoRA adapter goes on top of a repository's weights, and how strongly.

`lora.py` merges it; fine-tunes that have it merged already need none.
"""

from pathlib import Path

from ...runtime.errors import ModelError
from .config import LMConfig, RepositoryConfig
from .config.keys import Keys, located
from .documents import read_json
from .repository import HUB, Repository
from .tensors import SafetensorsFile, Tensors
from .weights import MERGED


def wants_adapter(
    config: RepositoryConfig, lm_config: LMConfig, lora: str | None, weights: str
) -> bool:
    """Whether an adapter is asked for, by hand or by the configuration of the file `weights`.

    moshi-finetune's configuration says `lora` of weights that have it merged in as well; these it
    names `consolidated.safetensors` (finetune/checkpointing.py).
    """
    if lora is not None or config.lora_name is not None:
        return True
    return lm_config.lora and weights.rpartition("/")[2] != MERGED


def open_adapter(
    repository: Repository, config: RepositoryConfig, lm_config: LMConfig, lora: str | None
) -> tuple[Tensors, float]:
    """A LoRA adapter and its scaling, which a `config.json` beside the adapter may set.

    Raises:
        ModelError: the configuration asks for an adapter that it does not name, or names one that
            it does not ask for.
    """
    name = repository.name
    if lora is not None:
        path, settings = _find_adapter(repository, lora)
        return SafetensorsFile(path), _read_scaling(settings, lm_config.lora_scaling)
    if config.lora_name is None:
        raise ModelError(
            f"{name} sets lora without a lora_name: give the adapter, or set lora to false if "
            "the weights have it merged in"
        )
    if not lm_config.lora:
        raise ModelError(f"{name} names an adapter, {config.lora_name}, but sets lora to false")
    return SafetensorsFile(repository.file(config.lora_name)), lm_config.lora_scaling


def _find_adapter(repository: Repository, lora: str) -> tuple[Path, Path | None]:
    """The adapter and the configuration beside it."""
    path = Path(lora.removeprefix("file://")).expanduser()
    if path.is_file():
        repository.add(path.name, path)
        beside = path.with_name("config.json")
        return path, beside if beside.is_file() else None
    path = repository.file(lora)
    folder = lora.rpartition("/")[0]
    return path, repository.optional(f"{folder}/config.json") if lora.startswith(HUB) else None


def _read_scaling(settings: Path | None, default: float) -> float:
    if settings is None:
        return default
    with located(str(settings)):
        return Keys(read_json(settings)).number("lora_scaling", default)
