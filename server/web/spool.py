"""Where the bodies that strangers post are kept: small ones in memory, the others on disk."""

import asyncio
import io
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, ParamSpec, TypeVar

from ...runtime.errors import KyutaiOnnxError
from ..engine.events import Busy

SMALL = 64 << 10
"""Bytes of a body that is kept in memory."""

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class NoSpaceError(KyutaiOnnxError):
    """The disk did not take a body."""


class Body:
    """What was posted. `write` and `finish` are for the spool's thread."""

    def __init__(self, spool: "Spool") -> None:
        self._spool = spool
        self._file: BinaryIO = io.BytesIO()
        self._size = self._stored = 0

    def write(self, data: bytes) -> None:
        """Adds bytes. Raises NoSpaceError, and Busy if the bodies of all take too much."""
        self._size += len(data)
        try:
            if self._size > SMALL:
                self._store(self._size - self._stored)
            self._file.write(data)
        except OSError as error:
            raise NoSpaceError(
                f"the upload cannot be stored ({error.strerror}): try again later"
            ) from None

    def finish(self) -> BinaryIO:
        """The whole as a file that can seek, at its start: one with a name, or BytesIO. It is
        closed with the body."""
        try:
            self._file.flush()
        except OSError as error:
            raise NoSpaceError(f"the upload cannot be stored ({error.strerror})") from None
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Deletes it."""
        self._spool.take(-self._stored)
        self._stored = 0
        with suppress(OSError):  # bytes that a full disk did not take
            self._file.close()

    def _store(self, size: int) -> None:
        self._spool.take(size)
        self._stored += size
        if isinstance(self._file, io.BytesIO):
            content = self._file.getvalue()
            self._file = self._spool.new_file()
            self._file.write(content)


class Spool:
    """The bodies of all clients, at most `most` bytes on disk, in a folder or the system's for
    temporary files. A thread of its own writes them, so that a slow disk stops nothing else."""

    def __init__(self, folder: str | None, most: int) -> None:
        self._folder, self._left = folder, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    @contextmanager
    def body(self) -> Iterator[Body]:
        """A body, deleted when it is left."""
        body = Body(self)
        try:
            yield body
        finally:
            self._thread.submit(body.close)

    async def work(
        self,
        function: Callable[_Params, _Result],
        *arguments: _Params.args,
        **named: _Params.kwargs,
    ) -> _Result:
        """Calls a function in the spool's thread."""
        call = asyncio.get_running_loop().run_in_executor
        result: _Result = await call(self._thread, lambda: function(*arguments, **named))
        return result

    def take(self, size: int) -> None:
        """Counts bytes on disk; raises Busy."""
        if size > self._left:
            raise Busy("too many uploads at once")
        self._left -= size

    def new_file(self) -> BinaryIO:
        """A file with a name, deleted when it is closed."""
        return tempfile.NamedTemporaryFile(prefix="kyutai-onnx-", dir=self._folder)  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the thread, once it has deleted what there is to delete."""
        self._thread.shutdown(wait=True)
