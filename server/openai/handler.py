"""OpenAI's `/v1/audio/transcriptions`, `/v1/audio/translations`, `/v1/audio/speech` and
`/v1/models`."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO

from aiohttp import web

from ...models.events import Audio, Pause, Word
from ...models.families import Task
from ..registry import ServedModel
from ..voices import USUAL_VOICES
from ..web.context import CONTEXT
from ..web.posts import StreamingResponse, Synthesis, Transcription
from ..web.uploads import FILE, Form
from ..wire import ProtocolError
from ..wire.speech_encoders import Tempo, speech_encoder
from . import adapter
from . import messages as openai
from .messages import InvalidRequestError, SpeechRequest, TranscriptionRequest


async def models(request: web.Request) -> web.Response:
    """The models that are served, with what our own clients want to know of each."""
    registry = request.app[CONTEXT].registry
    named = [(name, each) for each in registry.all for name in (each.name, *each.aliases)]
    return web.json_response(_described(named))


async def model(request: web.Request) -> web.Response:
    """The model that answers to a name, OpenAI's own included; raises UnknownModel."""
    name = request.match_info["name"]
    served = request.app[CONTEXT].registry.named(name)
    return web.json_response(_described([(name, served)])["data"][0])


async def voices(request: web.Request) -> web.Response:
    """The names of voices that a model takes, OpenAI's own included."""
    context = request.app[CONTEXT]
    served = context.registry.find(Task.TEXT_TO_SPEECH, request.query.get("model"))
    listed = await context.work(served.voices.names)
    names = dict.fromkeys([*(voice.name for voice in listed), *USUAL_VOICES])
    return web.json_response(openai.voice_list(names))


def _described(named: Sequence[tuple[str, ServedModel]]) -> dict[str, Any]:
    listed = openai.model_list(
        (name, served.model.bundle.manifest.source.repository.partition("/")[0], served.since)
        for name, served in named
    )
    for entry, (_, served) in zip(listed["data"], named, strict=True):
        entry |= served.about
    return listed


async def transcriptions_post(request: web.Request) -> web.StreamResponse:
    """The words of an audio file, in the format that is asked for."""
    context = request.app[CONTEXT]
    async with context.uploads.form(request) as form, context.uploads.room():
        asked = openai.read_transcription_request(form.fields)
        served = context.registry.find(Task.SPEECH_TO_TEXT, asked.model)
        transcription = Transcription(context, served, _file(form), **asked.options)
        if asked.stream:
            return await _as_events(request, transcription, with_logprobs=asked.logprobs)
        return await _as_a_whole(transcription, asked)


async def translations_post(request: web.Request) -> web.StreamResponse:
    """The text of a translation of an audio file, in the format that is asked for."""
    context = request.app[CONTEXT]
    async with context.uploads.form(request) as form, context.uploads.room():
        asked = openai.read_translation_request(form.fields)
        served = context.registry.find_translator(asked.model)
        translation = Transcription(context, served, _file(form), **asked.options)
        return await _as_a_whole(translation, asked)


async def _as_a_whole(
    transcription: Transcription, asked: TranscriptionRequest
) -> web.StreamResponse:
    found = [event async for event in transcription.events() if isinstance(event, Word | Pause)]
    content_type, body = adapter.render_transcript(asked, found, transcription.duration)
    return web.Response(body=body, headers={"Content-Type": f"{content_type}; charset=utf-8"})


async def _as_events(
    request: web.Request, transcription: Transcription, *, with_logprobs: bool
) -> web.StreamResponse:
    """Each word as it is found."""
    words = list[Word]()
    async with StreamingResponse(request, openai.EVENTS) as answer:
        async for event in transcription.events():
            if isinstance(event, Word):
                await answer.write(adapter.transcript_delta(event, first=not words))
                words.append(event)
        await answer.write(
            adapter.transcript_done(words, transcription.duration, with_logprobs=with_logprobs)
        )
        await answer.finish(openai.DONE)
    return answer.response


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
    content_type = openai.EVENTS if sse else openai.SPEECH_TYPES[asked.format]
    async with StreamingResponse(request, content_type) as answer:
        async for data in _encoded(served, synthesis, asked):
            frames += 1
            await answer.write(adapter.audio_delta(data) if sse else data)
        if sse:
            await answer.write(adapter.audio_done(len(asked.text.split()), frames))
        await answer.finish(openai.DONE if sse else b"")
    return answer.response


async def _encoded(
    served: ServedModel, synthesis: Synthesis, asked: SpeechRequest
) -> AsyncIterator[bytes]:
    rate = served.model.sample_rate
    encoder = speech_encoder(asked.format, rate)
    tempo = None if asked.speed == 1 else Tempo(asked.speed, rate)
    async for event in synthesis.events():
        if isinstance(event, Audio):
            pcm = event.pcm if tempo is None else tempo.push(event.pcm)
            if data := encoder.push(pcm):
                yield data
    if tempo is not None and (data := encoder.push(tempo.end())):
        yield data
    if data := encoder.end():
        yield data
