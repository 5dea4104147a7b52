"""Bodies that clients post: received within limits of size, number and time, and kept in memory or
on disk."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, ParamSpec, TypeVar

from aiohttp import web
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from ...runtime.errors import KyutaiOnnxError
from ..engine.events import Busy
from ..limits import Limits
from ..openai.messages import InvalidRequestError
from .client_timeout import client_timeout

SMALL = 64 << 10
"""Bytes of a body that is kept in memory."""
LEAST_RATE = 8 << 10
"""Bytes a second that a body brings, in any time as long as that of a request."""
MOST_PARTS = 32
MOST_FIELD = 64 << 10
"""Bytes of a field of a form that is no file, and of what precedes the first."""
MOST_HEADER = 8 << 10
MOST_HEADERS = 8
MOST_BOUNDARY = 256
FILE = "file"

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class NoSpaceError(KyutaiOnnxError):
    """The disk did not take a body."""


class Body:
    """One body. `write` and `finish` are called in the spool's thread."""

    def __init__(self, spool: "Spool") -> None:
        self._spool = spool
        self._file: BinaryIO = io.BytesIO()
        self._size = self._stored = 0

    def write(self, data: bytes) -> None:
        """Add bytes. Raises NoSpaceError, and Busy if the bodies of all clients take too much."""
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
        """Return the whole as a seekable file at its start, one with a name or a BytesIO, which is
        closed with the body."""
        try:
            self._file.flush()
        except OSError as error:
            raise NoSpaceError(
                f"the upload cannot be stored ({error.strerror}): try again later"
            ) from None
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Delete it."""
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
    """Keep the bodies of all clients, at most `most` bytes on disk, in a folder or the system's for
    temporary files. A thread writes them, so that a slow disk delays nothing else."""

    def __init__(self, folder: str | None, most: int) -> None:
        self._folder, self._left = folder, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Yield a body, which is deleted when the block is left."""
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
        """Call a function in the spool's thread."""
        call = asyncio.get_running_loop().run_in_executor
        result: _Result = await call(self._thread, lambda: function(*arguments, **named))
        return result

    def take(self, size: int) -> None:
        """Count bytes on disk; raises Busy if there is no room for them."""
        if size > self._left:
            raise Busy("too many uploads at once")
        self._left -= size

    def new_file(self) -> BinaryIO:
        """Open a file with a name, which is deleted when it is closed."""
        return tempfile.NamedTemporaryFile(prefix="kyutai-onnx-", dir=self._folder)  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread, once it has deleted what there is to delete."""
        self._thread.shutdown(wait=True)


@dataclass
class Form:
    """The fields of a form, each with its values, and its file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: BinaryIO | None = None


class FormParser:
    """Parse multipart/form-data in pieces of any size; the file of the form goes to a body."""

    def __init__(self, content_type: str, body: Body) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data":
            raise InvalidRequestError(
                "the body is not multipart/form-data: send a form with the audio as its file"
            )
        boundary = options.get("boundary", "")
        if not 0 < len(boundary) <= MOST_BOUNDARY:
            raise InvalidRequestError(
                f"the boundary of the form must have 1 to {MOST_BOUNDARY} characters"
            )
        with _as_refusal():
            self._parser = PushMultipartParser(
                boundary,
                max_header_size=MOST_HEADER,
                max_header_count=MOST_HEADERS,
                max_segment_count=MOST_PARTS,
            )
        self._body = body
        self._form = Form()
        self._has_file = False
        self._preamble = 0
        self._part: MultipartSegment | None = None
        self._field = bytearray()

    def push(self, data: bytes) -> None:
        """Parse more bytes; what follows the end of the form is ignored. Raises
        InvalidRequestError, and as `Body.write` does."""
        with _as_refusal():
            for event in self._parser.parse(data):
                self._take(event)
        if self._part is None and not self._has_begun:
            self._preamble += len(data)
            if self._preamble > MOST_FIELD:
                raise InvalidRequestError("the form does not start with its boundary")

    def finish(self) -> Form:
        """Return the form; raises InvalidRequestError if its end is missing."""
        with _as_refusal():
            self._parser.close()
        if self._has_file:
            self._form.file = self._body.finish()
        return self._form

    @property
    def _has_begun(self) -> bool:
        return self._has_file or bool(self._form.fields)

    def _take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._is_file:
            self._body.write(bytes(event))
        else:
            self._field += event
            if len(self._field) > MOST_FIELD:
                raise web.HTTPRequestEntityTooLarge(MOST_FIELD, len(self._field))

    def _begin(self, part: MultipartSegment) -> None:
        if not part.name:
            raise InvalidRequestError("a part of the form has no name")
        self._part = part
        if self._is_file:
            if self._has_file:
                raise InvalidRequestError("the form has more than one file: send one")
            self._has_file = True

    def _end(self) -> None:
        assert self._part is not None
        if not self._is_file:
            value = self._field.decode("utf-8", "replace")
            self._form.fields.setdefault(self._part.name, []).append(value)
            self._field.clear()
        self._part = None

    @property
    def _is_file(self) -> bool:
        return self._part is not None and self._part.name == FILE


@contextmanager
def _as_refusal() -> Iterator[None]:
    try:
        yield
    except InvalidRequestError:
        raise
    except MultipartError as error:
        raise InvalidRequestError(f"the body is not valid multipart/form-data ({error})") from None


class Uploads:
    """Receive bodies within the limits; `folder` is where large ones are kept. Belongs to the event
    loop.

    Every method raises HTTPRequestEntityTooLarge, HTTPRequestTimeout or HTTPUnsupportedMediaType
    for a body that is too large, too slow or compressed, and InvalidRequestError for a broken one.
    """

    def __init__(self, limits: Limits, folder: str | None) -> None:
        self._limits = limits
        self._decoding = asyncio.Semaphore(limits.uploads)
        self._spool = Spool(folder, limits.spooled)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Wait until another recording may be decoded; raises Busy if that takes too long."""
        try:
            async with asyncio.timeout(self._limits.wait):
                await self._decoding.acquire()
        except TimeoutError:
            raise Busy("too many uploads at once") from None
        try:
            yield
        finally:
            self._decoding.release()

    async def receive(self, request: web.Request, most: int) -> bytes:
        """Return a body of at most `most` bytes."""
        return b"".join([piece async for piece in self._pieces(request, most)])

    @asynccontextmanager
    async def body(self, request: web.Request) -> AsyncIterator[BinaryIO]:
        """Yield a body as a file that is open while the block runs. Raises NoSpaceError and Busy
        besides."""
        with self._spool.body() as body:
            async for data in self._pieces(request, self._limits.body):
                await self._spool.work(body.write, data)
            yield await self._spool.work(body.finish)

    @asynccontextmanager
    async def form(self, request: web.Request) -> AsyncIterator[Form]:
        """Yield a form of several parts, its file open while the block runs. Raises as `body` does,
        and InvalidRequestError for a form that has more in it than any needs."""
        with self._spool.body() as body:
            parser = FormParser(request.headers.get("Content-Type", ""), body)
            async for data in self._pieces(request, self._limits.body):
                await self._spool.work(parser.push, data)
            yield await self._spool.work(parser.finish)

    def close(self) -> None:
        """End the thread that writes, once it has deleted what there is to delete."""
        self._spool.close()

    async def _pieces(self, request: web.Request, most: int) -> AsyncIterator[bytes]:
        """Receive a body at `LEAST_RATE` or faster; the time that its pieces are worked on does not
        count."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType(
                text="the body is compressed: send it without Content-Encoding\n"
            )
        size, length = 0, request.content_length or 0
        if length > most:
            raise web.HTTPRequestEntityTooLarge(most, length)
        clock, patience = asyncio.get_running_loop().time, self._limits.request
        while True:
            since = clock()
            try:
                async with client_timeout(patience):
                    data = await request.content.readany()
            except TimeoutError:
                raise web.HTTPRequestTimeout(text="the body arrives too slowly\n") from None
            except web.RequestPayloadError:
                raise InvalidRequestError(
                    "the body is cut off, or does not match its headers"
                ) from None
            if not data:
                return
            size += len(data)
            if size > most:
                raise web.HTTPRequestEntityTooLarge(most, size)
            earned = len(data) / LEAST_RATE
            patience = min(self._limits.request, patience - (clock() - since) + earned)
            yield data
