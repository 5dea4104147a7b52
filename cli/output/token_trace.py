"""The file that `--dump-tokens` writes, to compare with another program."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.output_file import output_file
from ...runtime.typing import Array

if TYPE_CHECKING:
    from ...models.batch import TokenTrace


def dump_trace(path: Path, trace: "TokenTrace") -> None:
    """Write what a stream read and made; raises KyutaiOnnxError if the file cannot be written."""
    dump_tokens(path, text=trace.text, codes=_columns(trace.codes), audio=_columns(trace.audio))


def dump_tokens(
    path: Path, *, text: Sequence[int] = (), codes: Array | None = None, audio: Array | None = None
) -> None:
    """Write `text` int64 `[T]`, `audio` int64 `[dep_q, T]` and `codes` int64 `[K, T_in]`.

    Arrays that do not apply are empty. Raises KyutaiOnnxError if the file cannot be written.
    """
    none = np.empty((0, 0), np.int64)
    arrays = {
        "text": np.asarray(text, np.int64),
        "audio": none if audio is None else audio.astype(np.int64),
        "codes": none if codes is None else codes.astype(np.int64),
    }
    with output_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _columns(frames: Sequence[Array]) -> Array | None:
    """Return arrays of each frame as columns; None if they hold nothing."""
    columns: Array = np.array(frames).T
    return columns if columns.size else None
