"""The outside of a graph: named inputs, outputs and states around a module's step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..modules.opset_dialect import OpsetDialect
from ..modules.step import StateSpec, Step, all_states, name_states

ACTIVE = "active"
NEXT = ".next"
"""What the output that follows a state is called: its name and this."""


@dataclass(frozen=True)
class Port:
    """An input or output: its name, type and shape.

    The axes are numbers, or `batch`, or `frames` and its multiples: `(1920, "frames")`.
    """

    name: str
    dtype: torch.dtype
    shape: tuple["Axis", ...]


Axis = int | str | tuple[int, str]


class StepModule(nn.Module, ABC):
    """A module that `torch.onnx.export` can trace: `forward` takes the inputs, which rows are
    active, then the states, and returns the outputs, then the next states."""

    def __init__(self, dialect: OpsetDialect) -> None:
        super().__init__()
        self.dialect = dialect

    @abstractmethod
    def inputs(self) -> list[Port]: ...

    @abstractmethod
    def outputs(self) -> list[Port]: ...

    @abstractmethod
    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]: ...

    def active(self) -> Port:
        """The input that marks the rows that are stepped."""
        dialect = self.dialect
        return Port(ACTIVE, dialect.active_dtype, ("batch", *[1] * dialect.active_axes))

    def states(self) -> list[StateSpec]:
        name_states(self)
        return all_states(self)

    def forward(
        self, inputs: tuple[Tensor, ...], active: Tensor, states: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        names = [state.name for state in self.states()]
        step = Step(dict(zip(names, states, strict=True)), active, self.dialect)
        outputs = self.step(step, *inputs)
        carried = (step.outputs[s.name] for s in self.states() if s.carry != "constant")
        return (*outputs, *carried)
