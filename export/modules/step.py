"""What one call of a graph carries, and how a module tree names its states and gets its weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...conversion.filling.formula import Formula, read
from ...runtime.typing import Array
from .opset_dialect import OpsetDialect

Carry = Literal["replace", "in_place", "constant", "append"]


@dataclass(frozen=True)
class StateSpec:
    """One state of a graph.

    `shape` leaves out the batch axis, which comes first. `carry` says how the state reaches the
    next step: `replace`, the output becomes the input; `in_place`, the graph may write its output
    into the very buffer of its input; `append`, likewise a ring, whose new entry the graph writes
    behind it, and the host moves to its slot. Of a ring, `position` names the state that counts
    entries.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    initial: float = 0.0
    carry: Carry = "replace"
    position: str | None = None


class Step:
    """The states of one call: those that came in, and those that go out."""

    def __init__(self, states: Mapping[str, Tensor], active: Tensor, dialect: OpsetDialect) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._inputs, self._active, self._dialect = states, active, dialect

    def read(self, name: str) -> Tensor:
        """The state as it was before this call."""
        return self._inputs[name]

    def replace(self, name: str, value: Tensor) -> None:
        """Sets the state for the next call; rows that are held keep what they had."""
        self.outputs[name] = self._dialect.hold(self._active, value, self._inputs[name])

    def append(self, name: str, new: Tensor, offset: Tensor) -> Tensor:
        """Writes `new` `[B, H, T, D]` into a ring from position `offset` `[B]` on, and returns it.

        Held rows are written too: what they lose lay outside every later query's context, and
        the same slots are written again when the row goes on.
        """
        ring = self._dialect.write_ring(self._inputs[name], new, offset)
        self.outputs[name] = ring
        return ring

    def appended(self, name: str, value: Tensor) -> None:
        """Sets a ring that was written behind its last slot, in held rows too."""
        self.outputs[name] = value


class Stateful(nn.Module, ABC):
    """A module with states of its own. `path` is its name in the tree, set by `name_states`."""

    path: str

    @abstractmethod
    def states(self) -> list[StateSpec]:
        """The states of this module alone, named below `path`."""


class Weighted(nn.Module, ABC):
    """A module whose parameters are made from tensors of the checkpoint.

    Tensors are named below the module's own path or, where `rooted`, from the checkpoint's root.
    """

    rooted = False

    @abstractmethod
    def source(self, parameter: str, checkpoint: "Below") -> Formula | Array:
        """How one of its own parameters is made from the checkpoint, or its value if the checkpoint
        does not matter."""


@dataclass(frozen=True)
class Below:
    """The checkpoint's tensors as one module names them."""

    prefix: str

    def read(self, name: str) -> Formula:
        return read(self.prefix + name)


def name_states(root: nn.Module) -> None:
    """Gives every stateful module its path, once the tree is complete."""
    for path, module in root.named_modules():
        if isinstance(module, Stateful):
            module.path = path


def all_states(root: nn.Module) -> list[StateSpec]:
    """The states of a whole tree, in its order."""
    return [s for m in root.modules() if isinstance(m, Stateful) for s in m.states()]


def source_of(root: nn.Module, parameter: str) -> Formula | Array:
    """The source of the parameter with that full name."""
    path, _, name = parameter.rpartition(".")
    module = root.get_submodule(path)
    if not isinstance(module, Weighted):
        raise TypeError(f"{path or 'the root'} holds {name} but reads no checkpoint")
    return module.source(name, Below("" if module.rooted else f"{path}."))


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    """A parameter without a value: exporting fills it from the checkpoint."""
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)


def stored_as(formula: Formula, dtype: torch.dtype) -> Formula:
    """The float32 tensor of a formula in another type of floats."""
    return formula if dtype is torch.float32 else formula.then("cast", str(dtype).partition(".")[2])
