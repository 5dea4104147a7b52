"""The language model's configuration: the arguments of moshi models/lm.py LMModel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .conditioning import Conditioner, FuserConfig, TensorConditioner, read_conditioners
from .keys import (
    Keys,
    located,
    require,
    require_equal,
    require_few,
    require_one_of,
    require_positive,
)
from .transformer import NORMS, TransformerConfig, read_transformer

DEPTH_PREFIX = "depformer_"
VOICE_FRAMES = 125
"""Frames of one voice of a tensor condition: ten seconds (moshi scripts/tts_make_voice.py)."""

INHERITED = ("num_layers", "layer_scale", "gating", "max_period", "kv_repeat")
"""Keys of the temporal transformer that the depth transformer keeps unless its own are given."""


@dataclass(frozen=True, kw_only=True)
class DepformerConfig:
    """The depth transformer, which makes the `codebooks` tokens of one frame one after another.

    `schedule` says which weight set each codebook uses; None gives every codebook its own.
    `norm` is that before each codebook's logits, None for none.
    """

    dim: int
    transformer: TransformerConfig
    codebooks: int
    multi_linear: bool
    weights_per_step: bool
    schedule: tuple[int, ...] | None
    low_rank_embeddings: int | None
    norm: str | None

    def __post_init__(self) -> None:
        require_few(dep_q=self.codebooks)
        require_one_of("depformer_norm", self.norm, (None, *NORMS))
        if self.schedule is not None:
            self._check_schedule(self.schedule)
        widths, sets = len(self.transformer.feedforwards), self.weight_sets
        shared = isinstance(self.transformer.dim_feedforward, int)
        require(shared or widths == sets, f"dim_feedforward has {widths} entries for {sets} sets")
        plain = self.transformer.gating == "none"
        require(not (plain and self.weights_per_step), "weights per step need a gating")

    def _check_schedule(self, schedule: tuple[int, ...]) -> None:
        length = len(schedule)
        fits = length == self.codebooks
        require(fits, f"the schedule has {length} entries for {self.codebooks} codebooks")
        require(min(schedule) >= 0, f"the schedule names weight set {min(schedule)}")
        require_few(schedule=max(schedule))
        require(self.weights_per_step, "a schedule needs weights_per_step")

    @property
    def weight_sets(self) -> int:
        """Sets of attention and feed-forward weights."""
        if not self.weights_per_step:
            return 1
        return self.codebooks if self.schedule is None else max(self.schedule) + 1

    @property
    def input_sets(self) -> int:
        """Projections of the temporal transformer's output into this one."""
        if not self.multi_linear:
            return 1
        return self.codebooks if self.schedule is None else max(self.schedule) + 1

    def weight_set(self, codebook: int) -> int:
        if not self.weights_per_step:
            return 0
        return codebook if self.schedule is None else self.schedule[codebook]

    def input_set(self, codebook: int) -> int:
        if not self.multi_linear:
            return 0
        return codebook if self.schedule is None else self.schedule[codebook]


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """A language model over one text stream and `n_q` audio streams, the first `dep_q` its own.

    `delays` are in frames, the text's first.
    """

    delays: tuple[int, ...]
    n_q: int
    dep_q: int
    card: int
    text_card: int
    text_card_out: int
    dim: int
    norm_emb: bool
    bias_proj: bool
    existing_text_padding_id: int
    existing_text_end_padding_id: int
    extra_heads_num_heads: int
    extra_heads_dim: int
    demux_second_text_stream: bool
    transformer: TransformerConfig
    depformer: DepformerConfig | None
    conditioners: Mapping[str, Conditioner] = field(default_factory=dict, hash=False)
    fuser: FuserConfig | None = None
    quantize: bool = False
    lora: bool = False
    lora_scaling: float = 2.0

    def __post_init__(self) -> None:
        require_positive(card=self.card, text_card=self.text_card, dim=self.dim)
        require_positive(text_card_out=self.text_card_out)
        require_few(n_q=self.n_q, extra_heads_num_heads=self.extra_heads_num_heads)
        require(0 <= self.dep_q <= self.n_q, f"dep_q is {self.dep_q} and n_q {self.n_q}")
        streams = self.n_q + 1
        fits = len(self.delays) == streams
        require(fits, f"delays has {len(self.delays)} entries for {streams} streams")
        require(min(self.delays) >= 0, f"delays has a negative entry, {min(self.delays)}")
        require(self.transformer.context is not None, "context is null, which cannot be streamed")
        demuxes = self.norm_emb and self.demux_second_text_stream
        require(not demuxes, "norm_emb and a second text stream exclude each other")
        require(not (self.lora and self.quantize), "lora and quantize exclude each other")

    @property
    def is_conditioned(self) -> bool:
        """Whether conditions reach the temporal transformer."""
        return self.fuser is not None and bool(self.fuser.sum or self.fuser.cross)

    def condition_lengths(self, speakers: int) -> dict[str, int]:
        """How many vectors each tensor condition has: those of every speaker's voice."""
        return {
            name: speakers * VOICE_FRAMES
            for name, conditioner in self.conditioners.items()
            if isinstance(conditioner, TensorConditioner)
        }

    def source_length(self, speakers: int) -> int:
        """Positions of the source of cross-attention, 0 without it; a lookup table's value is
        one."""
        lengths = self.condition_lengths(speakers)
        return sum(lengths.get(name, 1) for name in self.fuser.cross) if self.fuser else 0

    @staticmethod
    def from_json(values: Mapping[str, object]) -> "LMConfig":
        """Reads a repository's `config.json`, less the keys that name files and settings.

        Raises:
            ModelError: a value that the reference refuses, named by its key.
        """
        keys = Keys(values)
        with located("conditioners"):
            conditioners = read_conditioners(keys.section("conditioners"))
        with located("fuser"):
            fuser = FuserConfig.read(keys.section("fuser"), conditioners)
        text_card = keys.integer("text_card", 32000)
        demux = keys.flag("demux_second_text_stream", False)
        transformer, depformer = _read_transformer(keys), _read_depformer(keys)
        return LMConfig(
            delays=keys.integers("delays", (0,)),
            n_q=keys.integer("n_q", 8),
            dep_q=keys.integer("dep_q", 8),
            card=keys.integer("card", 1024),
            text_card=text_card,
            text_card_out=keys.optional_integer("text_card_out") or text_card,
            dim=transformer.dim,
            norm_emb=keys.flag("norm_emb", False),
            bias_proj=keys.flag("bias_proj", False),
            existing_text_padding_id=keys.integer("existing_text_padding_id", 3),
            existing_text_end_padding_id=keys.integer("existing_text_end_padding_id", 0),
            extra_heads_num_heads=keys.integer("extra_heads_num_heads", 0),
            extra_heads_dim=keys.integer("extra_heads_dim", 6),
            demux_second_text_stream=keys.flag("demux_second_stream", demux),
            transformer=transformer,
            depformer=depformer,
            conditioners=conditioners,
            fuser=fuser if keys.mapping("fuser") else None,
            quantize=keys.flag("quantize", False),
            lora=keys.flag("lora", False),
            lora_scaling=keys.number("lora_scaling", 2.0),
        )

    @staticmethod
    def moshi_7b() -> "LMConfig":
        """Moshi 7B, for repositories without a configuration (loaders.py `_lm_kwargs`)."""
        return LMConfig.from_json(_MOSHI_7B)


def _read_transformer(keys: Keys) -> TransformerConfig:
    _refuse_variants(keys, "")
    dim = keys.integer("dim", 128)
    return read_transformer(
        keys,
        dim=dim,
        num_heads=keys.integer("num_heads", 8),
        num_layers=keys.integer("num_layers"),
        dim_feedforward=int(keys.number("hidden_scale", 4) * dim),
        causal=keys.flag("causal", True),
    )


def _refuse_variants(keys: Keys, prefix: str) -> None:
    """Arguments of StreamingTransformer that change what it computes, in no known release."""
    scale = f"{prefix}positional_scale"
    require_equal(scale, keys.number(scale, 1.0), 1.0)
    skip = f"{prefix}skip_self_attn"
    require_equal(skip, keys.flag(skip, False), False)


def _read_depformer(keys: Keys) -> DepformerConfig | None:
    """The temporal transformer's options, overridden by every `depformer_` key (models/lm.py)."""
    codebooks = keys.integer("dep_q", 8)
    if codebooks == 0:
        return None
    with located("depth transformer"):
        dim = keys.integer("depformer_dim", 256)
        return DepformerConfig(
            dim=dim,
            transformer=_read_depth_transformer(keys, dim),
            codebooks=codebooks,
            multi_linear=keys.flag("depformer_multi_linear", False),
            weights_per_step=keys.flag("depformer_weights_per_step", False),
            schedule=keys.optional_integers("depformer_weights_per_step_schedule") or None,
            low_rank_embeddings=keys.optional_integer("depformer_low_rank_embeddings"),
            norm=keys.optional_text("depformer_norm"),
        )


def _read_depth_transformer(keys: Keys, dim: int) -> TransformerConfig:
    _refuse_variants(keys, DEPTH_PREFIX)
    own = {name: f"{DEPTH_PREFIX}{name}" for name in INHERITED}
    key = {name: own[name] if own[name] in keys else name for name in INHERITED}
    return TransformerConfig(
        dim=dim,
        num_heads=keys.integer("depformer_num_heads"),
        num_layers=keys.integer(key["num_layers"]),
        dim_feedforward=_read_depth_feedforward(keys, dim),
        context=None,
        max_period=keys.number(key["max_period"], 10_000),
        positional_embedding=keys.text("depformer_pos_emb", "sin"),
        norm=keys.text("norm", "layer_norm"),
        gating=keys.text(key["gating"], "none"),
        layer_scale=keys.optional_number(key["layer_scale"]),
        kv_repeat=keys.integer(key["kv_repeat"], 1),
        causal=keys.flag("causal", True),
    )


def _read_depth_feedforward(keys: Keys, dim: int) -> int | tuple[int, ...]:
    """A number, a list with one for each weight set, or null for `hidden_scale * dim`."""
    name = "depformer_dim_feedforward"
    if isinstance(keys.peek(name), list | tuple):
        return keys.integers(name, ())
    return keys.optional_integer(name) or int(keys.number("hidden_scale", 4) * dim)


_MOSHI_7B: Mapping[str, object] = {
    "dim": 4096,
    "text_card": 32000,
    "existing_text_padding_id": 3,
    "n_q": 16,
    "dep_q": 8,
    "card": 2048,
    "num_heads": 32,
    "num_layers": 32,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 3000,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_dim_feedforward": 4224,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
}
