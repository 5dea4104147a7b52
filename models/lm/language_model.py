"""The language model of a bundle, loaded: its graphs, and what its rows are sampled, guided and
conditioned by."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.manifest import Conditioner
from ...runtime.errors import UsageError
from ...runtime.graph.batch_state import BatchState
from ...runtime.graph.graph import Graph, open_graph
from ...runtime.providers.provider import choose
from ...runtime.typing import Array
from ..options import check_parameters
from ..stream_state import Integer, Nullable, Number, Record

Conditions = dict[str, Array]
"""The constants of one row of the temporal transformer, without the batch axis."""

NONE = -1
"""What a lookup table's graph input says for no value, which the learnt padding stands for."""


@dataclass(frozen=True)
class SamplingParams:
    """How a row's tokens are sampled: `temperature` and `top_k` of codes, the same of text, and the
    seed. Temperature 0 takes the best token, `top_k` 0 considers all.

    Raises UsageError for a value out of range.
    """

    temperature: float = 0.0
    text_temperature: float = 0.0
    top_k: int = 0
    text_top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_parameters(**vars(self))

    FIELDS: ClassVar = Record(
        {
            "temperature": Number(0),
            "text_temperature": Number(0),
            "top_k": Integer(),
            "text_top_k": Integer(),
            "seed": Nullable(Integer(0, 2**63 - 1)),
        }
    )

    def save(self) -> dict[str, Any]:
        """Return what a stream state holds, as `FIELDS` says."""
        return {
            "temperature": float(self.temperature),
            "text_temperature": float(self.text_temperature),
            "top_k": int(self.top_k),
            "text_top_k": int(self.text_top_k),
            "seed": None if self.seed is None else int(self.seed),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """Return what `save` was called on."""
        return cls(**saved)


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: scores are `null + (conditioned - null) * coefficient`.

    The null half has other conditions, reads no tokens up to `masked_until` steps past each
    stream's delay, and with `no_text` no text at all; then text is scored without guidance. Raises
    UsageError for a coefficient out of range.
    """

    coefficient: float
    null: Conditions | None = None
    masked_until: int | None = None
    no_text: bool = False

    def __post_init__(self) -> None:
        check_parameters(cfg_coef=self.coefficient)


class LanguageModel:
    """The temporal transformer, the depth transformer and the conditioners. May be shared by
    threads.

    `codebooks` makes only so many of each frame: quality against speed. `spec.dep_q` is how many
    are made. Raises UsageError if the model makes fewer, ProviderError if it cannot run.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
        codebooks: int | None = None,
    ) -> None:
        spec = bundle.manifest.lm
        assert spec is not None
        self.bundle = bundle
        self.exported_codebooks = spec.dep_q
        self.spec = (
            spec if codebooks is None else replace(spec, dep_q=_allowed(codebooks, spec.dep_q))
        )
        self._provider = choose(provider, bundle.manifest.target, allow_fallback=allow_fallback)
        self._threads = threads
        self.temporal = open_graph(bundle, spec.temporal, self._provider, threads)
        self.depth = self._open_depth()
        self._conditions: Graph | None = None

    def _open_depth(self) -> Graph | None:
        name, made = self.spec.depth, self.spec.dep_q
        if name is None:
            return None
        outputs = None
        if made < self.exported_codebooks:
            outputs = [f"codes.{index}" for index in range(made)]
        return open_graph(self.bundle, name, self._provider, self._threads, outputs)

    def temporal_state(self, batch: int) -> BatchState:
        """Rows of the temporal transformer at their beginning."""
        return BatchState(self.temporal, batch)

    def depth_state(self, batch: int) -> BatchState | None:
        """Rows of the depth transformer; None if the model generates no audio."""
        return None if self.depth is None else BatchState(self.depth, batch)

    @property
    def provider_name(self) -> str:
        """The execution provider that runs it."""
        return self._provider.name

    @property
    def is_conditioned(self) -> bool:
        """Whether every stream needs conditions."""
        return self.spec.conditions is not None

    @property
    def candidates(self) -> int:
        """How many of the likeliest codes may be sampled from; 0 if it makes none."""
        if self.depth is None:
            return 0
        (noise,) = (port for port in self.depth.spec.inputs if port.name == "noise")
        return int(noise.shape[2])

    def split_text(self, tokens: Array) -> dict[str, Array]:
        """`tokens [rows, streams]` as the graphs take them: of a model with a second text stream
        the text, which stands for two tokens, apart (moshi models/lm_utils.py ScaledEmbedding)."""
        if not self.spec.second_text_stream:
            return {"tokens": tokens}
        text, count = tokens[:, 0], self.spec.text_card + 1
        first = tokens.copy()
        first[:, 0] = np.where(text < 0, -1, text % count)
        second = np.where(text < 0, -1, text // count - 1)
        return {"tokens": first, "second_text": second}

    def condition(
        self,
        texts: Mapping[str, str | None] | None = None,
        tensors: Mapping[str, tuple[Array, Array]] | None = None,
    ) -> Conditions:
        """What a row is to be given: texts by the name of their conditioner, and tensors float32
        `[length, dim]` with a mask bool `[length]` of what counts. What is left out, or None, is
        the model's learnt padding.

        Raises:
            UsageError: a conditioner that the model lacks, a value that its table lacks, or a
                tensor of another shape.
        """
        texts, tensors = texts or {}, tensors or {}
        unknown = sorted({*texts, *tensors} - set(self.spec.conditioners))
        if unknown:
            known = ", ".join(self.spec.conditioners) or "nothing"
            raise UsageError(f"this model is not conditioned on {unknown[0]}, but on {known}")
        if self.spec.conditions is None:
            return {}
        if self._conditions is None:
            self._conditions = open_graph(
                self.bundle, self.spec.conditions, self._provider, self._threads
            )
        inputs: dict[str, Array] = {}
        for name, conditioner in self.spec.conditioners.items():
            if conditioner.kind == "lut":
                inputs[name] = np.array([_entry(name, conditioner, texts.get(name))])
            else:
                vectors, mask = _tensor(name, conditioner, tensors.get(name))
                inputs |= {name: vectors[None], f"{name}.mask": mask[None]}
        outputs = BatchState(self._conditions).step(inputs)
        return {name: value[0].copy() for name, value in outputs.items()}


def _allowed(codebooks: int, most: int) -> int:
    if not 1 <= codebooks <= most:
        raise UsageError(f"{codebooks} codebooks: this bundle makes 1 to {most}")
    return codebooks


def _entry(name: str, conditioner: Conditioner, text: str | None) -> int:
    """The entry of a lookup table (moshi conditioners/text.py NoopTokenizer)."""
    if text is None:
        return NONE
    if conditioner.values is None:
        assert conditioner.bins is not None
        return int(hashlib.sha256(text.encode()).hexdigest(), 16) % conditioner.bins
    if text not in conditioner.values:
        raise UsageError(f"{name} {text}: this model knows {', '.join(conditioner.values)}")
    return conditioner.values.index(text)


def _tensor(
    name: str, conditioner: Conditioner, given: tuple[Array, Array] | None
) -> tuple[Array, Array]:
    assert conditioner.length is not None
    assert conditioner.dim is not None
    shape = (conditioner.length, conditioner.dim)
    if given is None:
        return np.zeros(shape, np.float32), np.zeros(conditioner.length, np.bool_)
    vectors, mask = given
    if vectors.shape != shape or mask.shape != shape[:1]:
        raise UsageError(f"{name} has the shape {list(vectors.shape)}, {list(shape)} expected")
    return vectors.astype(np.float32), mask.astype(np.bool_)
