"""What a bundle is made for: the provider, the flavour of its graphs, and its precisions."""

from dataclasses import dataclass

from ...runtime.bundle.manifest import Flavour, Precision
from ...runtime.bundle.manifest import Target as TargetName
from ...runtime.errors import UsageError

ROUNDED_CACHE = "1.31"
"""The oldest onnxruntime that is known to read a KV cache of 8 bits on the CPU."""


@dataclass(frozen=True)
class Precisions:
    """Of the language model, or of a codec alone; of the codec; of the KV cache."""

    model: Precision
    codec: Precision = "fp32"
    cache: Precision = "fp32"


@dataclass(frozen=True)
class Target:
    """One `--target`. `computes_half` says that fp16 is also what it computes in, not only what it
    stores; `splits_codec` that Mimi's convolution stacks are graphs of their own, and run on the
    provider, all other graphs on the CPU; `rounds_cache` that it reads a KV cache of 8 bits."""

    name: TargetName
    flavour: Flavour
    default_precision: Precision
    precisions: tuple[Precision, ...]
    minimum_onnxruntime: str
    computes_half: bool = False
    splits_codec: bool = False
    accuracy_level: int = 0
    rounds_cache: bool = False

    def check(self, precisions: Precisions) -> None:
        """Raise UsageError for precisions that this target does not take."""
        if precisions.cache == "int8" and not self.rounds_cache:
            raise UsageError(f"--target {self.name} keeps no KV cache in int8: leave it out")
        if precisions.model not in self.precisions:
            raise UsageError(
                f"--target {self.name} takes no {precisions.model}; choose among "
                f"{', '.join(self.precisions)}"
            )
        if precisions.codec not in ("fp32", "int8"):
            raise UsageError(f"a codec of {precisions.codec}: choose among fp32, int8")

    def default_cache(self, precision: Precision) -> Precision:
        """Precision of the KV cache: int8 if the weights have 4 bits and the target reads it."""
        return "int8" if precision == "int4" and self.rounds_cache else "fp32"

    def oldest_onnxruntime(self, precisions: Precisions) -> str:
        return ROUNDED_CACHE if precisions.cache == "int8" else self.minimum_onnxruntime


ALL: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")

TARGETS: dict[TargetName, Target] = {
    target.name: target
    for target in (
        Target("cpu", "native", "int8", ALL, "1.25", accuracy_level=4, rounds_cache=True),
        Target("cuda", "portable", "fp16", ALL, "1.24", computes_half=True),
        Target("directml", "portable", "fp16", ALL, "1.24", computes_half=True),
        Target("webgpu", "portable", "fp16", ALL, "1.24", computes_half=True),
        Target("coreml", "coreml", "int8", ALL, "1.25", splits_codec=True, accuracy_level=4),
    )
}


def target(name: str) -> Target:
    """The target of that name; raises UsageError."""
    for known in TARGETS.values():
        if known.name == name:
            return known
    raise UsageError(f"no target {name!r}; choose among {', '.join(TARGETS)}")
