"""What an engine needs of a model of any family."""

from collections.abc import Callable
from typing import Any, Protocol

from ...runtime.bundle.bundle import Bundle


class Model(Protocol):
    """Rates as those of `models.model.Model`; `batch` returns a `models.batch.Batch`."""

    @property
    def family(self) -> str: ...
    @property
    def bundle(self) -> Bundle: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def frame_size(self) -> int: ...
    @property
    def batch(self) -> Callable[..., Any]: ...
