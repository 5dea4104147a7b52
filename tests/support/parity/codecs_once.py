"""Codecs are exported once: the same one comes beside many models, and takes longest to trace."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from kyutai_onnx.export import bundle
from kyutai_onnx.runtime.bundle.manifest import FileEntry, GraphSpec

Key = tuple[object, ...]
Written = tuple[GraphSpec, dict[str, FileEntry]]


class Codecs:
    """Graphs of codecs as they were written for the first bundle that needed them."""

    def __init__(self) -> None:
        self._write = bundle._write_graph
        self._written: dict[Key, tuple[Written, Path]] = {}

    @contextmanager
    def shared(self, key: Key, out: Path) -> Iterator[None]:
        """While a bundle is exported to `out`; `key` tells codecs apart."""

        def write(graph: Any, folder: Path, progress: Any) -> Written:
            if not graph.name.startswith("mimi"):
                return self._write(graph, folder, progress)
            whole = (*key, graph.name)
            if whole not in self._written:
                self._written[whole] = self._write(graph, folder, progress), out
                return self._written[whole][0]
            written, place = self._written[whole]
            for name in written[1]:
                shutil.copy(place / name, folder / name)
            return written

        with mock.patch.object(bundle, "_write_graph", write):
            yield
