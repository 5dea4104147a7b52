"""A checkpoint as the exporter sees it: configuration, canonical tensors and tokenizer, together.

Weights are opened, not read: every tensor stays on disk until the exporter asks for it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...runtime.errors import ModelError, UsageError
from ...runtime.tokenizer import open_tokenizer
from .config import LMConfig, MimiConfig, RepositoryConfig, SttConfig
from .config.keys import Keys, located, read_json, read_toml
from .config.rust import from_rust
from .layouts import canonical_lm, canonical_mimi, is_quantized, with_widths
from .lora import Lora, open_adapter, wants_adapter
from .personaplex import models_partner, with_partner, without_partner
from .repository import Repository
from .tensor_views import Overlay, Piece, Renamed, TensorAssembly, Tensors, renamed, whole
from .weights_file import OTHERS, find_weights_file, open_weights_file

HEADS = "extra_heads."
PREPROCESSOR = "preprocessor_config.json"
TEXT_EMBEDDING = "text_emb.weight"

FINGERPRINT = ("text_linear.weight", "out_norm.alpha", "out_norm.weight")
"""Tensors that two repositories of one model have in common, and two models never."""
ROWS = slice(64)
"""How many rows of them are compared, since one of the two may have to be downloaded."""


@dataclass(frozen=True)
class Checkpoint:
    """One repository's model. `lm` and `tokenizer` are None for a codec alone.

    `config.lm` agrees with `lm`, heads taken from elsewhere included.
    """

    repository: Repository
    config: RepositoryConfig
    mimi_config: MimiConfig
    lm: Tensors | None
    mimi: Tensors
    tokenizer: Path | None

    @property
    def family(self) -> str:
        return self.config.family


def open_checkpoint(
    repo: str,
    revision: str | None = None,
    lora: str | None = None,
    extra_heads: str | None = None,
) -> Checkpoint:
    """Opens a repository of Kyutai's, or a folder in the layout of one.

    `lora` is an adapter's safetensors file: a path, `hf://owner/name/file`, or a file of the
    repository. `extra_heads` is a repository of the same model that has the heads that this one
    lacks.

    Raises:
        ModelError: something is missing, damaged, of an unknown form, or does not fit.
    """
    return read_checkpoint(Repository.open(repo, revision), lora, extra_heads)


def read_checkpoint(
    repository: Repository, lora: str | None = None, extra_heads: str | None = None
) -> Checkpoint:
    """Opens the checkpoint of a repository; options and errors as those of `open_checkpoint`."""
    config = read_config(repository)
    mimi_config = config.mimi or read_mimi_config(repository, config)
    tokenizer = read_tokenizer(repository, config)
    codec = open_weights_file(repository, config.mimi_name)
    with located(repository.name):
        mimi = canonical_mimi(codec, mimi_config)
    lm: Tensors | None = None
    if config.lm is not None:
        lm, config = open_lm(repository, config, config.lm, lora, extra_heads)
    elif lora is not None or extra_heads is not None:
        raise UsageError(f"{repository.name} holds a codec alone: it takes no LoRA and no heads")
    return Checkpoint(repository, config, mimi_config, lm, mimi, tokenizer)


def read_config(repository: Repository) -> RepositoryConfig:
    """`config.json`, `config.toml` of the Rust programs, or what the absence of both means."""
    path = repository.optional("config.json")
    if path is None:
        return _read_without_json(repository)
    with located(repository.name):
        config = RepositoryConfig.from_json(read_json(path))
    if config.mimi is not None and config.lm is not None:
        return replace(config, stt=_read_preprocessor(repository))
    return config


def _read_without_json(repository: Repository) -> RepositoryConfig:
    path = repository.optional("config.toml")
    if path is not None:
        with located(f"{repository.name}: config.toml"):
            return RepositoryConfig.from_json(from_rust(read_toml(path)))
    config = RepositoryConfig.legacy()
    if find_weights_file(repository, config.moshi_name) is None:
        names = ", ".join((config.moshi_name, *OTHERS))
        raise ModelError(
            f"{repository.name} has neither config.json nor any of {names}: it is no checkpoint "
            "of Kyutai's"
        )
    return config


def _read_preprocessor(repository: Repository) -> SttConfig:
    """Where transformers keeps the silence around the audio."""
    path = repository.file(PREPROCESSOR)
    with located(f"{repository.name}: {PREPROCESSOR}"):
        return SttConfig.read(Keys(read_json(path)))


def read_mimi_config(repository: Repository, config: RepositoryConfig) -> MimiConfig:
    if config.mimi_config_name is None:
        return MimiConfig.default()
    path = repository.file(config.mimi_config_name)
    with located(f"{repository.name}: {config.mimi_config_name}"):
        return MimiConfig.from_json(read_json(path))


def read_tokenizer(repository: Repository, config: RepositoryConfig) -> Path | None:
    """The file that becomes a part of the bundle: nothing else than a SentencePiece model."""
    if config.tokenizer_name is not None:
        path = repository.file(config.tokenizer_name)
        open_tokenizer(path)
        return path
    if config.lm is None:
        return None
    raise ModelError(
        f"{repository.name} has no SentencePiece model: copy the folder, put the original "
        "repository's .model file in it and name it in config.json as tokenizer_name"
    )


def open_lm(
    repository: Repository,
    config: RepositoryConfig,
    lm_config: LMConfig,
    lora: str | None,
    extra_heads: str | None,
) -> tuple[Tensors, RepositoryConfig]:
    """The language model with all that is put on top of it, and what the configuration becomes."""
    name = find_weights_file(repository, config.moshi_name) or config.moshi_name
    source = open_weights_file(repository, name)
    if config.model_type == "moshi" and models_partner(source, lm_config):
        lm, lm_config = _canonical(repository, source, with_partner(lm_config))
        lm, lm_config = without_partner(lm, lm_config)
        config = replace(config, takes_prompt=True)
    else:
        lm, lm_config = _canonical(repository, source, lm_config)
    heads = None if extra_heads is None else take_heads(extra_heads, repository, lm, lm_config)
    if wants_adapter(config, lm_config, lora, name):
        if lm_config.quantize or is_quantized(source):
            raise ModelError(
                f"{repository.name} is quantised, which LoRA cannot be merged into: give the "
                "adapter to the repository with bf16 weights"
            )
        adapter, scaling = open_adapter(repository, config, lm_config, lora)
        with located(repository.name):
            lm = Lora(lm, adapter, scaling)
    if heads is not None:
        lm, lm_config = Overlay(lm, heads), count_heads(lm_config, heads)
    if config.model_type == "hibiki":
        lm = with_padding_for_end(lm)
    return lm, replace(config, lm=lm_config)


def _canonical(
    repository: Repository, source: Tensors, lm_config: LMConfig
) -> tuple[Tensors, LMConfig]:
    """The source under canonical names, and the configuration with what the file knows better.

    A configuration may leave out heads that the file has, as repositories for candle do.
    """
    with located(repository.name):
        if not lm_config.extra_heads_num_heads:
            lm_config = count_heads(lm_config, source)
        lm = canonical_lm(source, lm_config)
        return lm, with_widths(lm_config, lm)


def count_heads(config: LMConfig, tensors: Tensors) -> LMConfig:
    """The configuration with the extra heads that are among the tensors."""
    shapes = [shape for name, shape in tensors.shapes().items() if name.startswith(HEADS)]
    dim = shapes[0][0] if shapes else config.extra_heads_dim
    return replace(config, extra_heads_num_heads=len(shapes), extra_heads_dim=dim)


def take_heads(repo: str, repository: Repository, base: Tensors, lm_config: LMConfig) -> Tensors:
    """The extra heads of another repository of the same model.

    Raises:
        ModelError: it has none, or it holds another model.
        UsageError: the model has heads of its own.
    """
    if lm_config.extra_heads_num_heads:
        raise UsageError(f"{repository.name} has extra heads of its own")
    other = repository.other(repo)
    config = read_config(other)
    if config.lm is None:
        raise ModelError(f"{repo} holds a codec alone, without extra heads")
    name = find_weights_file(other, config.moshi_name) or config.moshi_name
    tensors, found = _canonical(other, open_weights_file(other, name), config.lm)
    if not found.extra_heads_num_heads:
        raise ModelError(f"{repo} has no extra heads")
    heads = renamed(tensors, lambda name: name if name.startswith(HEADS) else None)
    _require_same_model(base, tensors, f"{repo} holds another model than {repository.name}")
    repository.include(other)
    return heads


def _require_same_model(base: Tensors, other: Tensors, complaint: str) -> None:
    ours = dict(base.shapes())
    theirs = {name: shape for name, shape in other.shapes().items() if not name.startswith(HEADS)}
    different = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    if different:
        raise ModelError(f"{complaint}: {different[0]} is not alike")
    for name in FINGERPRINT:
        if name in ours and not np.array_equal(base.read(name, ROWS), other.read(name, ROWS)):
            raise ModelError(f"{complaint}: {name} has other values")


def with_padding_for_end(lm: Tensors) -> Tensors:
    """Hibiki reads the end of the text, 2, as padding, 3 (loaders.py CheckpointInfo.get_moshi).

    It may say that it is done too early; text goes on until the audio ends.
    """
    shape = lm.shapes()[TEXT_EMBEDDING]
    rows = (slice(0, 2), slice(3, 4), slice(3, None))
    assembly = TensorAssembly(tuple(Piece(TEXT_EMBEDDING, part) for part in rows), shape)
    return Renamed(lm, {name: whole(lm, name) for name in lm.shapes()} | {TEXT_EMBEDDING: assembly})
