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


class Codecs:
    """Graphs of codecs as they were written for the first bundle that needed them."""

    def __init__(self) -> None:
        self._write = bundle._write_graph
        self._written: dict[Key, tuple[GraphSpec, dict[str, FileEntry], Path]] = {}

    @contextmanager
    def shared(self, key: Key, out: Path) -> Iterator[None]:
        """While a bundle is exported to `out`; `key` tells codecs apart."""

        def write(graph: Any, folder: Path, files: dict[str, FileEntry], progress: Any) -> Any:
            if not graph.name.startswith("mimi"):
                return self._write(graph, folder, files, progress)
            whole = (*key, graph.name)
            if whole not in self._written:
                own: dict[str, FileEntry] = {}
                self._written[whole] = self._write(graph, folder, own, progress), own, out
            else:
                for name in self._written[whole][1]:
                    shutil.copy(self._written[whole][2] / name, folder / name)
            files |= self._written[whole][1]
            return self._written[whole][0]

        with mock.patch.object(bundle, "_write_graph", write):
            yield
