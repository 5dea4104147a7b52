"""Bodies that strangers post: bounded in size, in number and in the time they take."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from aiohttp import web
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from ..engine.events import Busy
from ..limits import Limits
from ..openai.messages import InvalidRequestError
from ..wire.strict_json import MOST_BYTES, parse_object
from .context import Context
from .spool import Body

LEAST_RATE = 8 << 10
"""Bytes a second that a body brings, in any time as long as that of a request."""
MOST_PARTS = 32
MOST_FIELD = 64 << 10
"""Bytes of a field of a form that is no file, and of what precedes the first."""
MOST_HEADER = 8 << 10
MOST_HEADERS = 8
MOST_BOUNDARY = 256
FILE = "file"


@dataclass
class Form:
    """The fields of a form, each with its values, and its file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: BinaryIO | None = None


@asynccontextmanager
async def room_for_recording(context: Context) -> AsyncIterator[None]:
    """Wait until another recording may be decoded; raises Busy if that takes too long."""
    try:
        async with asyncio.timeout(context.limits.wait):
            await context.uploads.acquire()
    except TimeoutError:
        raise Busy("too many uploads at once") from None
    try:
        yield
    finally:
        context.uploads.release()


async def receive_pieces(request: web.Request, limits: Limits, most: int) -> AsyncIterator[bytes]:
    """Receive a body piece by piece, at least at `LEAST_RATE`; the time that its pieces are worked
    on does not count. Raises HTTPRequestEntityTooLarge, HTTPRequestTimeout, InvalidRequestError."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType(text="a compressed body is not taken\n")
    size, length = 0, request.content_length or 0
    if length > most:
        raise web.HTTPRequestEntityTooLarge(most, length)
    clock, patience = asyncio.get_running_loop().time, limits.request
    while True:
        since = clock()
        try:
            async with asyncio.timeout(patience):
                data = await request.content.readany()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body comes too slowly\n") from None
        except web.RequestPayloadError:
            raise InvalidRequestError("the body is cut off, or not what its head says") from None
        if not data:
            return
        size += len(data)
        if size > most:
            raise web.HTTPRequestEntityTooLarge(most, size)
        patience = min(limits.request, patience - (clock() - since) + len(data) / LEAST_RATE)
        yield data


async def receive_object(request: web.Request, context: Context) -> dict[str, Any]:
    """Receive a JSON object. Raises as `receive_pieces` does, and ProtocolError."""
    parts = [part async for part in receive_pieces(request, context.limits, MOST_BYTES)]
    return await context.parse(parse_object, b"".join(parts))


@asynccontextmanager
async def receive_body(request: web.Request, context: Context) -> AsyncIterator[BinaryIO]:
    """Receive a whole body as a file, open while the block runs. Raises as `receive_pieces` does,
    NoSpaceError and Busy."""
    spool = context.spool
    with spool.body() as body:
        async for data in receive_pieces(request, context.limits, context.limits.body):
            await spool.work(body.write, data)
        yield await spool.work(body.finish)


@asynccontextmanager
async def receive_form(request: web.Request, context: Context) -> AsyncIterator[Form]:
    """Receive a form of several parts, its file open while the block runs. Raises as `receive_body`
    does, and InvalidRequestError for a form that is invalid or has more in it than any needs."""
    spool = context.spool
    with spool.body() as body:
        parser = FormParser(request.headers.get("Content-Type", ""), body)
        async for data in receive_pieces(request, context.limits, context.limits.body):
            await spool.work(parser.push, data)
        yield await spool.work(parser.finish)


class FormParser:
    """Bytes of multipart/form-data in pieces of any size, as a form whose file is a body."""

    def __init__(self, content_type: str, body: Body) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data":
            raise InvalidRequestError("the body is multipart/form-data, with the audio as its file")
        boundary = options.get("boundary", "")
        if not 0 < len(boundary) <= MOST_BOUNDARY:
            raise InvalidRequestError(f"a boundary has 1 to {MOST_BOUNDARY} characters")
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
        """Adds bytes; raises InvalidRequestError, and as `Body.write` does. What follows the end
        of the form is ignored."""
        with _as_refusal():
            for event in self._parser.parse(data):
                self._take(event)
        if self._part is None and not self._has_begun:
            self._preamble += len(data)
            if self._preamble > MOST_FIELD:
                raise InvalidRequestError("a form begins with its boundary")

    def finish(self) -> Form:
        """The form; raises InvalidRequestError if its end is missing."""
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
                raise InvalidRequestError("a form has one file")
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
        raise InvalidRequestError(f"the body is no multipart/form-data ({error})") from None
