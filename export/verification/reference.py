"""Kyutai's own package with a checkpoint's weights, to compare with.

Uses `moshi`, which is no dependency of this package: it pins old releases of its own.
"""

import importlib
import os
from dataclasses import asdict
from typing import Any

import torch

from ...conversion.checkpoint.checkpoint import Checkpoint
from ...conversion.checkpoint.config import (
    Conditioner,
    DepformerConfig,
    LMConfig,
    LutConditioner,
    MimiConfig,
    TransformerConfig,
)
from ...conversion.checkpoint.tensor_views import Tensors
from ...runtime.errors import UsageError


def loaders() -> Any:
    """The module `moshi.models.loaders`; raises UsageError if it is not installed."""
    os.environ.setdefault("NO_TORCH_COMPILE", "1")
    try:
        return importlib.import_module("moshi.models.loaders")
    except ImportError as error:
        raise UsageError(
            f"verifying needs Kyutai's package beside ours ({error.name} is missing); run "
            "'pip install einops && pip install --no-deps moshi==0.2.13'"
        ) from None


def reference_mimi(checkpoint: Checkpoint, codebooks: int) -> Any:
    """`moshi`'s MimiModel, in float32, evaluating."""
    arguments = mimi_arguments(checkpoint.mimi_config)
    model = loaders().get_mimi(None, arguments, num_codebooks=codebooks)
    load_weights(model, checkpoint.mimi)
    return model


def reference_lm(checkpoint: Checkpoint) -> Any:
    """`moshi`'s LMModel, in float32, evaluating."""
    assert checkpoint.config.lm is not None
    assert checkpoint.lm is not None
    arguments = lm_arguments(checkpoint.config.lm)
    if "conditioners" in checkpoint.config.raw:
        arguments |= provider_arguments(checkpoint.config.lm)
    module = importlib.import_module("moshi.models.lm") if loaders() else None
    assert module is not None
    model = module.LMModel(**arguments, device="meta", dtype=torch.float32)
    load_weights(model, checkpoint.lm)
    return model.eval()


def load_weights(model: torch.nn.Module, tensors: Tensors) -> None:
    """Fills a model, one tensor at a time, where ours leave out leading axes of 1."""
    expected = model.state_dict()
    state = {
        name: torch.from_numpy(tensors.read(name)).reshape(expected[name].shape)
        for name in tensors.shapes()
    }
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)


def mimi_arguments(config: MimiConfig) -> dict[str, Any]:
    """The configuration as `get_mimi` takes it."""
    seanet, quantizer = config.seanet, config.quantizer
    names = (
        "channels",
        "dimension",
        "n_filters",
        "n_residual_layers",
        "kernel_size",
        "last_kernel_size",
        "residual_kernel_size",
        "dilation_base",
        "compress",
        "true_skip",
        "activation",
        "pad_mode",
    )
    transformer = transformer_arguments(config.transformer)
    return {
        "sample_rate": config.sample_rate,
        "channels": config.channels,
        "frame_rate": config.frame_rate,
        "seanet": {
            **{name: getattr(seanet, name) for name in names},
            "ratios": list(seanet.ratios),
            "activation_params": dict(seanet.activation_params),
            "causal": True,
            "norm": "none",
        },
        "quantizer": {
            name: getattr(quantizer, name)
            for name in (
                "dimension",
                "n_q",
                "n_q_semantic",
                "bins",
                "input_dimension",
                "output_dimension",
            )
        },
        "transformer": {
            **transformer,
            "d_model": config.transformer.dim,
            "dim_feedforward": config.transformer.dim_feedforward,
            "conv_layout": True,
            "input_dimension": config.transformer_input_dimension,
            "output_dimensions": [config.transformer_output_dimension],
        },
    }


def transformer_arguments(config: TransformerConfig) -> dict[str, Any]:
    """The arguments of `StreamingTransformer` that have the same names."""
    return {
        name: getattr(config, name)
        for name in (
            "num_heads",
            "num_layers",
            "causal",
            "layer_scale",
            "context",
            "max_period",
            "gating",
            "norm",
            "positional_embedding",
            "kv_repeat",
        )
    }


def lm_arguments(config: LMConfig) -> dict[str, Any]:
    """The configuration as `LMModel` takes it, less the conditioners; the fuser is made."""
    transformer = config.transformer
    assert isinstance(transformer.dim_feedforward, int)
    names = (
        "n_q",
        "dep_q",
        "card",
        "text_card",
        "text_card_out",
        "demux_second_text_stream",
        "dim",
        "norm_emb",
        "bias_proj",
        "existing_text_padding_id",
        "existing_text_end_padding_id",
        "extra_heads_num_heads",
        "extra_heads_dim",
    )
    return {
        **transformer_arguments(transformer),
        **{name: getattr(config, name) for name in names},
        "cross_attention": transformer.cross_attention,
        "delays": list(config.delays),
        "hidden_scale": (transformer.dim_feedforward + 0.5) / config.dim,
        "depformer_multi_linear": True,
        **({} if config.depformer is None else depth_arguments(config.depformer)),
        **fuser_arguments(config),
    }


def depth_arguments(config: DepformerConfig) -> dict[str, Any]:
    """The depth transformer's part of it. Its norm, context and direction are the temporal one's
    or fixed, and are not said twice."""
    transformer = config.transformer
    feedforward = transformer.dim_feedforward
    own = ("num_heads", "num_layers", "layer_scale", "gating", "max_period", "kv_repeat")
    return {
        **{f"depformer_{name}": getattr(transformer, name) for name in own},
        "depformer_dim": config.dim,
        "depformer_dim_feedforward": (
            feedforward if isinstance(feedforward, int) else list(feedforward)
        ),
        "depformer_pos_emb": transformer.positional_embedding,
        "depformer_multi_linear": config.multi_linear,
        "depformer_weights_per_step": config.weights_per_step,
        "depformer_weights_per_step_schedule": (
            None if config.schedule is None else list(config.schedule)
        ),
        "depformer_low_rank_embeddings": config.low_rank_embeddings,
        "depformer_norm": config.norm,
    }


def provider_arguments(config: LMConfig) -> dict[str, Any]:
    """`condition_provider`, as loaders.py makes it where the file speaks of conditioners, be it to
    say that there are none."""
    conditioners = {name: _conditioner(entry) for name, entry in config.conditioners.items()}
    make = loaders().get_conditioner_provider
    return {"condition_provider": make(config.dim, "cpu", {"conditioners": conditioners})}


def fuser_arguments(config: LMConfig) -> dict[str, Any]:
    """`fuser`, of a model that has one."""
    if config.fuser is None:
        return {}
    fuser = {**asdict(config.fuser), "sum": list(config.fuser.sum)}
    fuser["cross"] = list(config.fuser.cross)
    return {"fuser": loaders().get_condition_fuser({"fuser": fuser})}


def _conditioner(config: Conditioner) -> dict[str, Any]:
    """One of `conditioners` of a `config.json`."""
    if not isinstance(config, LutConditioner):
        return {"type": "tensor", "tensor": asdict(config)}
    values = None if config.possible_values is None else list(config.possible_values)
    return {
        "type": "lut",
        "lut": {**asdict(config), "tokenizer": "noop", "possible_values": values},
    }
