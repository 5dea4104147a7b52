"""Codecs are exported once: the same one comes beside many models, and takes longest to trace."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from support.shared import Shared

from kyutai_onnx.export import bundle
from kyutai_onnx.runtime.bundle.manifest import FileEntry, GraphSpec

Key = tuple[object, ...]
Written = tuple[GraphSpec, dict[str, FileEntry]]


class Codecs:
    """Graphs of codecs as they were written for the first bundle that needed them."""

    def __init__(self, shared: Shared) -> None:
        self._write, self._shared = bundle._write_graph, shared

    @contextmanager
    def shared(self, key: Key) -> Iterator[None]:
        """While a bundle is exported; `key` identifies the codec."""

        def write(graph: Any, folder: Path, progress: Any) -> Written:
            if not graph.name.startswith("mimi"):
                return self._write(graph, folder, progress)

            def export(own: Path) -> Written:
                own.mkdir()
                return self._write(graph, own, progress)

            name = "-".join(map(str, ("codec", *key, graph.name)))
            shutil.copytree(self._shared.once(name, export), folder, dirs_exist_ok=True)
            written: Written = self._shared.result(name)
            return written

        with mock.patch.object(bundle, "_write_graph", write):
            yield
