"""Mimi's configuration (moshi models/loaders.py get_mimi and the modules that it builds)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .keys import (
    Keys,
    located,
    require,
    require_equal,
    require_few,
    require_one_of,
    require_positive,
)
from .transformer import TransformerConfig, read_transformer

Params = tuple[tuple[str, float], ...]
"""Keyword arguments of an activation, in the order of the file."""

SEANET_ACTIVATIONS = ("ELU", "CELU", "ReLU", "LeakyReLU", "GELU", "SiLU", "Mish", "Tanh", "Sigmoid")
"""Activations of torch.nn that act on one value at a time; SEANet takes one by name."""

LEAST_RATE = 0.01
"""Frames a second."""


def read_params(keys: Keys, key: str, default: Params) -> Params:
    if key not in keys:
        return default
    section = keys.section(key)
    params = tuple((name, section.number(name)) for name in section.unread())
    section.refuse_unread()
    return params


@dataclass(frozen=True, kw_only=True)
class SEANetConfig:
    """Mimi's convolution stacks (moshi modules/seanet.py). `ratios` are in the decoder's order."""

    channels: int
    dimension: int
    n_filters: int
    n_residual_layers: int
    ratios: tuple[int, ...]
    kernel_size: int
    last_kernel_size: int
    residual_kernel_size: int
    dilation_base: int
    compress: int
    true_skip: bool
    activation: str = "ELU"
    activation_params: Params = (("alpha", 1.0),)
    pad_mode: str = "constant"
    final_activation: str | None = None
    final_activation_params: Params = ()

    def __post_init__(self) -> None:
        require(len(self.ratios) > 0, "ratios is empty")
        require_positive(
            channels=self.channels,
            dimension=self.dimension,
            n_filters=self.n_filters,
            ratios=min(self.ratios),
            kernel_size=self.kernel_size,
            last_kernel_size=self.last_kernel_size,
            residual_kernel_size=self.residual_kernel_size,
            dilation_base=self.dilation_base,
            compress=self.compress,
        )
        require_few(n_residual_layers=self.n_residual_layers, ratios=len(self.ratios))
        require_equal("pad_mode", self.pad_mode, "constant")
        require_one_of("activation", self.activation, SEANET_ACTIVATIONS)
        require_one_of("final_activation", self.final_activation, (None, *SEANET_ACTIVATIONS))

    @property
    def hop_length(self) -> int:
        """Samples to one vector of the latent."""
        return math.prod(self.ratios)

    @staticmethod
    def read(keys: Keys) -> "SEANetConfig":
        """The keys of `SEANetEncoder` and `SEANetDecoder`, with their defaults."""
        require_equal("causal", keys.flag("causal", False), True)
        require_equal("norm", keys.text("norm", "none"), "none")
        require_equal("trim_right_ratio", keys.number("trim_right_ratio", 1.0), 1.0)
        for absent in ("mask_fn", "mask_position"):
            require_equal(absent, keys.optional_text(absent), None)
        keys.ignore("norm_params", "disable_norm_outer_blocks")
        config = SEANetConfig(
            channels=keys.integer("channels", 1),
            dimension=keys.integer("dimension", 128),
            n_filters=keys.integer("n_filters", 32),
            n_residual_layers=keys.integer("n_residual_layers", 3),
            ratios=keys.integers("ratios", (8, 5, 4, 2)),
            kernel_size=keys.integer("kernel_size", 7),
            last_kernel_size=keys.integer("last_kernel_size", 7),
            residual_kernel_size=keys.integer("residual_kernel_size", 3),
            dilation_base=keys.integer("dilation_base", 2),
            compress=keys.integer("compress", 2),
            true_skip=keys.flag("true_skip", True),
            activation=keys.text("activation", "ELU"),
            activation_params=read_params(keys, "activation_params", (("alpha", 1.0),)),
            pad_mode=keys.text("pad_mode", "reflect"),
            final_activation=keys.optional_text("final_activation"),
            final_activation_params=read_params(keys, "final_activation_params", ()),
        )
        keys.refuse_unread()
        return config


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """The split residual vector quantiser (moshi quantization/vq.py): `n_q` codebooks of `bins`
    vectors, the first `n_q_semantic` of them with projections of their own."""

    dimension: int
    n_q: int
    n_q_semantic: int = 1
    bins: int
    input_dimension: int
    output_dimension: int

    def __post_init__(self) -> None:
        require_positive(dimension=self.dimension, bins=self.bins, n_q_semantic=self.n_q_semantic)
        require_few(n_q=self.n_q)
        enough = self.n_q > self.n_q_semantic
        require(enough, f"n_q is {self.n_q}; it must exceed n_q_semantic {self.n_q_semantic}")

    @staticmethod
    def read(keys: Keys) -> "QuantizerConfig":
        """The keys of `SplitResidualVectorQuantizer`, with their defaults."""
        keys.ignore("q_dropout", "no_quantization_rate", "decay")
        keys.ignore("threshold_usage_ratio", "replaced_usage_ratio")
        dimension = keys.integer("dimension", 128)
        config = QuantizerConfig(
            dimension=dimension,
            n_q=keys.integer("n_q", 8),
            n_q_semantic=keys.integer("n_q_semantic", 1),
            bins=keys.integer("bins", 1024),
            input_dimension=keys.optional_integer("input_dimension") or dimension,
            output_dimension=keys.optional_integer("output_dimension") or dimension,
        )
        keys.refuse_unread()
        return config


@dataclass(frozen=True, kw_only=True)
class MimiConfig:
    """The codec: `sample_rate` in Hz, `frame_rate` in frames a second.

    Both transformers, the encoder's and the decoder's, are `transformer`.
    """

    sample_rate: int
    channels: int
    frame_rate: float
    seanet: SEANetConfig
    quantizer: QuantizerConfig
    transformer: TransformerConfig
    transformer_input_dimension: int
    transformer_output_dimension: int

    def __post_init__(self) -> None:
        require_positive(sample_rate=self.sample_rate, frame_rate=self.frame_rate)
        require(self.transformer.context is not None, "transformer: context is null")
        require_equal("cross_attention", self.transformer.cross_attention, False)
        require_equal("channels", self.channels, self.seanet.channels)
        dimension = self.seanet.dimension
        require_equal("input_dimension", self.transformer_input_dimension, dimension)
        require_equal("output_dimension", self.transformer_output_dimension, dimension)
        require_equal("quantizer input_dimension", self.quantizer.input_dimension, dimension)
        require_equal("quantizer output_dimension", self.quantizer.output_dimension, dimension)
        require(self.frame_rate >= LEAST_RATE, f"frame_rate is {self.frame_rate}")
        stride = self.encoder_frame_rate / self.frame_rate
        whole = stride >= 1 and stride == int(stride)
        require(whole, f"frame_rate is {self.frame_rate}, which is not {self.encoder_frame_rate}/n")

    @property
    def hop_length(self) -> int:
        """Samples to one vector of the convolution stacks' latent."""
        return self.seanet.hop_length

    @property
    def encoder_frame_rate(self) -> float:
        """Vectors a second between the convolution stacks and the transformers."""
        return self.sample_rate / self.hop_length

    @property
    def resample_stride(self) -> int:
        """Vectors of the transformers to one frame; 1 means that nothing is resampled."""
        return int(self.encoder_frame_rate / self.frame_rate)

    @property
    def frame_size(self) -> int:
        """Samples to one frame."""
        return self.hop_length * self.resample_stride

    @staticmethod
    def from_json(values: Mapping[str, object]) -> "MimiConfig":
        """Reads what `mimi_config_name` of a repository names.

        Raises:
            ModelError: a value or key that the reference refuses, or that the exporter does not
                know how to keep.
        """
        keys = Keys(values)
        for part in ("seanet", "quantizer", "transformer"):
            require(part in keys, f"{part} is missing")
        with located("seanet"):
            seanet = SEANetConfig.read(keys.section("seanet"))
        with located("quantizer"):
            quantizer = QuantizerConfig.read(keys.section("quantizer"))
        with located("transformer"):
            transformer, dim_in, dim_out = _read_transformer(keys.section("transformer"))
        return MimiConfig(
            sample_rate=keys.integer("sample_rate"),
            channels=keys.integer("channels"),
            frame_rate=keys.number("frame_rate"),
            seanet=seanet,
            quantizer=quantizer,
            transformer=transformer,
            transformer_input_dimension=dim_in,
            transformer_output_dimension=dim_out,
        )

    @staticmethod
    def default() -> "MimiConfig":
        """Mimi v0.1, for repositories that name no configuration (loaders.py `_mimi_config`)."""
        return MimiConfig.from_json(_V0_1)


def _read_transformer(keys: Keys) -> tuple[TransformerConfig, int, int]:
    """The keys of `ProjectedTransformer` and `StreamingTransformer`, with their defaults."""
    require_equal("conv_layout", keys.flag("conv_layout", False), True)
    require_equal("positional_scale", keys.number("positional_scale", 1.0), 1.0)
    require_equal("skip_self_attn", keys.flag("skip_self_attn", False), False)
    keys.ignore("betas", "checkpointing")
    outputs = keys.integers("output_dimensions", ())
    require(len(outputs) == 1, f"output_dimensions has {len(outputs)} entries; it must have one")
    config = read_transformer(
        keys,
        dim=keys.integer("d_model"),
        num_heads=keys.integer("num_heads"),
        num_layers=keys.integer("num_layers"),
        dim_feedforward=keys.integer("dim_feedforward", 2048),
        causal=keys.flag("causal", False),
    )
    dim_in = keys.integer("input_dimension")
    keys.refuse_unread()
    return config, dim_in, outputs[0]


_V0_1: Mapping[str, object] = {
    "sample_rate": 24000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": 512,
        "causal": True,
        "n_filters": 64,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "quantizer": {
        "dimension": 256,
        "n_q": 32,
        "bins": 2048,
        "input_dimension": 512,
        "output_dimension": 512,
    },
    "transformer": {
        "d_model": 512,
        "num_heads": 8,
        "num_layers": 8,
        "causal": True,
        "layer_scale": 0.01,
        "context": 250,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 2048,
        "input_dimension": 512,
        "output_dimensions": [512],
    },
}
