"""Whether an execution provider really runs: a graph of one addition, opened there and run.

The graph is written as the bytes of onnx.proto, for which no package for ONNX is needed.
"""

import tempfile
from pathlib import Path

import numpy as np

from ..errors import KyutaiOnnxError, ProviderError
from .provider import Provider, make_session
from .prune import BYTES, VARINT

SIZE = 4
FLOAT = 1


def probe(provider: Provider) -> None:
    """Returns where it runs; raises ProviderError with the cause where it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "addition.onnx"
        path.write_bytes(_model())
        try:
            session = make_session(path, provider, threads=1)
            (found,) = session.run(None, {"x": np.arange(SIZE, dtype=np.float32)})
        except KyutaiOnnxError:
            raise
        except Exception as error:  # onnxruntime raises classes of its own, one for each code
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise ProviderError(f"{provider.name} does not run ({cause})") from None
        if list(found) != [0.0, 2.0, 4.0, 6.0]:
            raise ProviderError(f"{provider.name} adds wrongly: {list(found)}")


def _model() -> bytes:
    node = _text(1, "x") + _text(1, "x") + _text(2, "y") + _text(4, "Add")
    graph = _message(1, node) + _text(2, "addition")
    graph += _message(11, _tensor("x")) + _message(12, _tensor("y"))
    return _number(1, 8) + _message(7, graph) + _message(8, _text(1, "") + _number(2, 13))


def _tensor(name: str) -> bytes:
    shape = _message(1, _number(1, SIZE))
    return _text(1, name) + _message(2, _message(1, _number(1, FLOAT) + _message(2, shape)))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    assert len(content) < 128, "its length is one byte"
    return bytes([field << 3 | BYTES, len(content)]) + content


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3 | VARINT, value])
