"""A transformer's hyper-parameters: Mimi's two, the temporal one and the depth one alike."""

from dataclasses import dataclass

from .keys import Keys, require, require_equal, require_few, require_one_of, require_positive

NORMS = ("layer_norm", "layer_norm_f32", "rms_norm", "rms_norm_f32")
POSITIONAL_EMBEDDINGS = ("rope", "rope_concat", "sin", "sin_rope", "none")
GATINGS = (
    "none",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "mish",
    "softsign",
    "identity",
)


def gating_hidden(dim: int, dim_feedforward: int) -> int:
    """Width of a gated feed-forward block (moshi modules/gating.py ActivationGating)."""
    return 21 * dim // 8 if dim_feedforward == 4 * dim else 2 * dim_feedforward // 3


@dataclass(frozen=True)
class TransformerConfig:
    """Arguments of moshi modules/transformer.py StreamingTransformer.

    `context` counts keys, the query's own included; None is the depth transformer's, whose ring
    holds one key a codebook. `dim_feedforward` is a tuple where weight sets differ in width.

    Raises:
        ModelError: a value that the reference refuses, or that has no streaming form.
    """

    dim: int
    num_heads: int
    num_layers: int
    dim_feedforward: int | tuple[int, ...]
    context: int | None
    max_period: float
    positional_embedding: str
    norm: str
    gating: str
    layer_scale: float | None
    kv_repeat: int = 1
    cross_attention: bool = False
    causal: bool = True

    def __post_init__(self) -> None:
        require(len(self.feedforwards) > 0, "dim_feedforward is empty")
        require_positive(
            dim=self.dim,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            dim_feedforward=min(self.feedforwards),
            max_period=self.max_period,
            kv_repeat=self.kv_repeat,
            context=1 if self.context is None else self.context,
        )
        require_few(num_layers=self.num_layers)
        require_one_of("norm", self.norm, NORMS)
        require_one_of("positional_embedding", self.positional_embedding, POSITIONAL_EMBEDDINGS)
        require_one_of("gating", self.gating, GATINGS)
        require_equal("causal", self.causal, True)
        self._check_heads()

    def _check_heads(self) -> None:
        dim, heads, repeat = self.dim, self.num_heads, self.kv_repeat
        require(dim % heads == 0, f"num_heads is {heads}, which does not divide dim {dim}")
        require(heads % repeat == 0, f"kv_repeat is {repeat}, which does not divide {heads} heads")
        crosses = self.cross_attention and repeat > 1
        require(not crosses, "cross_attention and kv_repeat exclude each other")
        if "rope" in self.positional_embedding:
            require(self.head_dim % 2 == 0, f"rope needs an even head width, not {self.head_dim}")
        if "sin" in self.positional_embedding:
            require(dim % 2 == 0, f"sin needs an even dim, not {dim}")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; each serves `kv_repeat` heads of queries."""
        return self.num_heads // self.kv_repeat

    @property
    def feedforwards(self) -> tuple[int, ...]:
        """`dim_feedforward` of every weight set that has its own, or the one of all."""
        if isinstance(self.dim_feedforward, int):
            return (self.dim_feedforward,)
        return self.dim_feedforward


def read_transformer(
    keys: Keys, *, dim: int, num_heads: int, num_layers: int, dim_feedforward: int, causal: bool
) -> TransformerConfig:
    """Read the keys whose defaults every StreamingTransformer shares."""
    return TransformerConfig(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        dim_feedforward=dim_feedforward,
        causal=causal,
        context=keys.optional_integer("context"),
        max_period=keys.number("max_period", 10_000),
        positional_embedding=keys.text("positional_embedding", "sin"),
        norm=keys.text("norm", "layer_norm"),
        gating=keys.text("gating", "none"),
        layer_scale=keys.optional_number("layer_scale"),
        kv_repeat=keys.integer("kv_repeat", 1),
        cross_attention=keys.flag("cross_attention", False),
    )
