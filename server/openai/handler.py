"""OpenAI's `/v1/audio/transcriptions`, `/v1/audio/speech` and `/v1/models`."""

from collections.abc import AsyncIterator
from typing import BinaryIO

from aiohttp import web

from ...models.events import Audio, Word
from ...models.families import Task
from ...runtime.errors import KyutaiOnnxError
from ..registry import ServedModel
from ..web.context import CONTEXT
from ..web.logs import log
from ..web.posts import StreamingResponse, Synthesis, Transcription
from ..web.uploads import FILE, Form
from ..wire import ProtocolError
from ..wire.speech_encoders import speech_encoder
from . import adapter
from . import messages as openai
from .messages import InvalidRequestError

EVENTS = "text/event-stream"


async def models(request: web.Request) -> web.Response:
    """The models that are served, with what our own clients want to know of each."""
    named = [
        (name, served)
        for served in request.app[CONTEXT].registry.all
        for name in (served.name, *served.aliases)
    ]
    listed = openai.model_list(
        (name, served.model.bundle.manifest.source.repository.partition("/")[0], served.since)
        for name, served in named
    )
    for entry, (_, served) in zip(listed["data"], named, strict=True):
        entry |= served.about
    return web.json_response(listed)


async def transcriptions_post(request: web.Request) -> web.StreamResponse:
    """The words of an audio file, in the format that is asked for."""
    context = request.app[CONTEXT]
    async with context.uploads.form(request) as form, context.uploads.room():
        asked = openai.read_transcription_request(form.fields)
        served = context.registry.find(Task.SPEECH_TO_TEXT, asked.model)
        transcription = Transcription(context, served, _file(form), **asked.options)
        if asked.stream:
            return await _as_events(request, transcription)
        words = [event async for event in transcription.events() if isinstance(event, Word)]
    content_type, body = adapter.render_transcript(asked, words, transcription.duration)
    return web.Response(body=body, headers={"Content-Type": f"{content_type}; charset=utf-8"})


async def _as_events(request: web.Request, transcription: Transcription) -> web.StreamResponse:
    """Each word as it is found."""
    answer, words = StreamingResponse(request, EVENTS), list[str]()
    try:
        async for event in transcription.events():
            if isinstance(event, Word):
                await answer.write(adapter.transcript_delta(event.text, first=not words))
                words.append(event.text)
    except KyutaiOnnxError as error:
        if not answer.begun:
            raise
        log("request failed", path=request.path, why=str(error))
        return await answer.finish(openai.event(openai.error(str(error), "server_error")))
    await answer.write(adapter.transcript_done(" ".join(words), transcription.duration))
    return await answer.finish(openai.DONE)


def _file(form: Form) -> BinaryIO:
    if form.file is None:
        raise InvalidRequestError("file: give an audio file", FILE)
    return form.file


async def speech_post(request: web.Request) -> web.StreamResponse:
    """A text, spoken in the format that is asked for, as it is made."""
    context = request.app[CONTEXT]
    try:
        content = await context.receive_object(request)
    except ProtocolError as error:
        raise InvalidRequestError(f"the body: {error}") from None
    asked = openai.read_speech_request(content, context.limits.characters)
    served = context.registry.find(Task.TEXT_TO_SPEECH, asked.model)
    synthesis = Synthesis(context, served, asked.text, asked.voice, **asked.options)
    sse, frames = asked.stream_format == "sse", 0
    answer = StreamingResponse(request, EVENTS if sse else openai.SPEECH_TYPES[asked.format])
    async for data in _encoded(served, synthesis, asked.format):
        frames += 1
        await answer.write(adapter.audio_delta(data) if sse else data)
    if not sse:
        return await answer.finish()
    await answer.write(adapter.audio_done(len(asked.text.split()), frames))
    return await answer.finish(openai.DONE)


async def _encoded(served: ServedModel, synthesis: Synthesis, form: str) -> AsyncIterator[bytes]:
    encoder = speech_encoder(form, served.model.sample_rate)
    async for event in synthesis.events():
        if isinstance(event, Audio) and (data := encoder.push(event.pcm)):
            yield data
    if data := encoder.end():
        yield data
