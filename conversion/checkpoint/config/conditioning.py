"""Conditioners and how their outputs reach the temporal transformer (moshi conditioners/)."""

from collections.abc import Mapping
from dataclasses import dataclass

from ....runtime.errors import ModelError
from .keys import Keys, located, require, require_equal, require_positive


@dataclass(frozen=True, kw_only=True)
class LutConditioner:
    """A table of `n_bins + 1` vectors of `dim`, one for each of `possible_values`.

    Without `possible_values` a text's bin is its SHA-256 modulo `n_bins` (conditioners/text.py).
    """

    dim: int
    n_bins: int
    possible_values: tuple[str, ...] | None
    learn_padding: bool = True
    force_linear: bool = True

    def __post_init__(self) -> None:
        require_positive(dim=self.dim, n_bins=self.n_bins)
        values = self.possible_values or ()
        fits = len(values) <= self.n_bins
        require(fits, f"possible_values has {len(values)} entries for {self.n_bins} bins")


@dataclass(frozen=True, kw_only=True)
class TensorConditioner:
    """A projection of vectors of `dim` given from outside (conditioners/tensors.py)."""

    dim: int
    learn_padding: bool = True
    force_linear: bool = True

    def __post_init__(self) -> None:
        require_positive(dim=self.dim)


Conditioner = LutConditioner | TensorConditioner


@dataclass(frozen=True, kw_only=True)
class FuserConfig:
    """Which conditions are summed to every input and which are attended to, by name."""

    sum: tuple[str, ...] = ()
    cross: tuple[str, ...] = ()
    cross_attention_pos_emb: bool = False
    cross_attention_pos_emb_scale: float = 1.0

    @staticmethod
    def read(keys: Keys, conditioners: Mapping[str, Conditioner]) -> "FuserConfig":
        """The keys of `ConditionFuser`.

        Raises:
            ModelError: a condition without a conditioner, or conditions to prepend, which the
                reference's generation does not do either.
        """
        require_equal("prepend", keys.optional_texts("prepend") or (), ())
        keys.ignore("streaming_sum")
        fuser = FuserConfig(
            sum=keys.optional_texts("sum") or (),
            cross=keys.optional_texts("cross") or (),
            cross_attention_pos_emb=keys.flag("cross_attention_pos_emb", False),
            cross_attention_pos_emb_scale=keys.number("cross_attention_pos_emb_scale", 1.0),
        )
        keys.refuse_unread()
        unknown = [name for name in (*fuser.sum, *fuser.cross) if name not in conditioners]
        require(not unknown, f"no conditioner is named {', '.join(unknown)}")
        return fuser


def read_conditioners(keys: Keys) -> dict[str, Conditioner]:
    """`{name: {"type": kind, kind: {...}}}`, in the order of the file."""
    conditioners: dict[str, Conditioner] = {}
    for name in keys.unread():
        with located(name):
            section = keys.section(name)
            kind = section.text("type")
            conditioners[name] = _read_conditioner(kind, section.section(kind))
    return conditioners


def _read_conditioner(kind: str, keys: Keys) -> Conditioner:
    require_equal("output_bias", keys.flag("output_bias", False), False)
    keys.ignore("pad_empty", "init_scale", "device", "output_dim")
    dim = keys.integer("dim")
    learn_padding = keys.flag("learn_padding", True)
    force_linear = keys.flag("force_linear", True)
    made: Conditioner
    if kind == "lut":
        require_equal("tokenizer", keys.text("tokenizer"), "noop")
        made = LutConditioner(
            dim=dim,
            n_bins=keys.integer("n_bins"),
            possible_values=keys.optional_texts("possible_values"),
            learn_padding=learn_padding,
            force_linear=force_linear,
        )
    elif kind == "tensor":
        made = TensorConditioner(dim=dim, learn_padding=learn_padding, force_linear=force_linear)
    else:
        raise ModelError(f"type is {kind!r}, not lut or tensor")
    keys.refuse_unread()
    return made
