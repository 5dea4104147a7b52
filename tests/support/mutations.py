"""Inputs for fuzzing: valid ones that were broken, and any bytes.

A test tries a few hundred inputs of its own choice, always the same. `KYUTAI_ONNX_FUZZ=1000000`
makes each of them try as many, by chance.
"""

import os
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

VARIABLE = "KYUTAI_ONNX_FUZZ"
EXAMPLES = int(os.environ.get(VARIABLE, "0"))

fuzzed = settings(
    max_examples=EXAMPLES or 300,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""Decorates a test that hypothesis gives inputs to."""

_Change = Callable[[bytes], bytes]


def _places() -> st.SearchStrategy[float]:
    """Fractions of the data: not `st.floats`, which onnxruntime's flush to zero upsets."""
    return st.integers(0, 2**16 - 1).map(lambda number: number / 2**16)


def _change(kind: str, place: float, length: int, new: bytes) -> _Change:
    def apply(data: bytes) -> bytes:
        start = int(place * len(data))
        end = start + length
        if kind == "cut":
            return data[:start]
        middle = {"replace": new, "drop": b"", "insert": new + data[start:end]}
        return data[:start] + middle.get(kind, data[start:end] * 2) + data[end:]

    return apply


def broken(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Valid inputs with up to five changes, and bytes that never were valid."""
    changes = st.builds(
        _change,
        st.sampled_from(["cut", "replace", "drop", "insert", "double"]),
        _places(),
        st.integers(0, 9),
        st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff" * 4, b"\x7f\xff", bytes(4)])),
    )
    return st.one_of(
        st.builds(_applied, st.sampled_from(valid), st.lists(changes, max_size=5)),
        st.binary(max_size=200),
    )


def _applied(data: bytes, changes: Sequence[_Change]) -> bytes:
    for change in changes:
        data = change(data)
    return data


def pieces(data: bytes, places: Sequence[float]) -> list[bytes]:
    """The data, cut at some places."""
    cuts = sorted(int(place * (len(data) + 1)) for place in places)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def cuts() -> st.SearchStrategy[list[float]]:
    return st.lists(_places(), max_size=4)
