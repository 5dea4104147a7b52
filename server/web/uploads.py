"""Bodies that strangers post: bounded in size, in number and in the time they take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web
from aiohttp.multipart import MultipartReader

from ..config import Bounds
from ..engine.events import Busy
from ..protocols.openai import InvalidRequestError
from .context import Context

SLOWEST = 64 << 10
"""Bytes a second that a body must come by, after its first time."""
MOST_FIELDS = 32
MOST_FIELD = 64 << 10
"""Bytes of a field of a form that is no file."""
FILE = "file"


@dataclass
class Form:
    """The fields of a form, each with its values, and its file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: bytes | None = None


@asynccontextmanager
async def room_for_body(context: Context) -> AsyncIterator[None]:
    """Waits until another body may be kept; raises Busy where that takes too long."""
    try:
        async with asyncio.timeout(context.limits.wait):
            await context.uploads.acquire()
    except TimeoutError:
        raise Busy("too many uploads at once") from None
    try:
        yield
    finally:
        context.uploads.release()


async def read_body(request: web.Request, limits: Bounds) -> bytes:
    """All of a body. Raises HTTPRequestEntityTooLarge, HTTPRequestTimeout."""
    _check_length(request, limits)
    parts, size = [], 0
    async with _patience(request, limits):
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limits.body:
                raise web.HTTPRequestEntityTooLarge(limits.body, size)
            parts.append(chunk)
    return b"".join(parts)


async def read_form(request: web.Request, limits: Bounds) -> Form:
    """A form of several parts. Raises as `read_body` does, and InvalidRequestError for what is no
    form, or one with more in it than any needs."""
    if not request.content_type.startswith("multipart/"):
        raise InvalidRequestError("the body is multipart/form-data, with the audio as its file")
    _check_length(request, limits)
    form = Form()
    async with _patience(request, limits):
        try:
            await _read_parts(await request.multipart(), form, limits)
        except ValueError as error:
            if isinstance(error, InvalidRequestError):
                raise
            raise InvalidRequestError("the body is no multipart/form-data") from None
    return form


async def _read_parts(parts: MultipartReader, form: Form, limits: Bounds) -> None:
    left = limits.body
    for _ in range(MOST_FIELDS):
        part = await parts.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader) or not part.name:
            raise InvalidRequestError("a part of the form has no name")
        if part.name == FILE:
            form.file = await _read_part(part, left)
            left -= len(form.file)
        else:
            value = await _read_part(part, MOST_FIELD)
            form.fields.setdefault(part.name, []).append(value.decode("utf-8", "replace"))
    raise InvalidRequestError(f"a form of more than {MOST_FIELDS} fields")


async def _read_part(part: BodyPartReader, most: int) -> bytes:
    found, size = [], 0
    while chunk := await part.read_chunk(1 << 16):
        size += len(chunk)
        if size > most:
            raise web.HTTPRequestEntityTooLarge(most, size)
        found.append(bytes(chunk))
    return b"".join(found)


def _check_length(request: web.Request, limits: Bounds) -> None:
    """What says that it is too long need not be read."""
    length = request.content_length or 0
    if length > limits.body:
        raise web.HTTPRequestEntityTooLarge(limits.body, length)


@asynccontextmanager
async def _patience(request: web.Request, limits: Bounds) -> AsyncIterator[None]:
    length = request.content_length
    seconds = limits.request + (limits.body if length is None else length) / SLOWEST
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body took more than {seconds:.0f} s\n") from None
