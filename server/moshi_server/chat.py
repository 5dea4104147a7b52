"""`/api/chat`: Moshi and Hibiki, spoken with over one websocket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...models import events
from ...models.families import Task
from ...models.options import SpeechToSpeechOptions, given
from ..decoding import OpusStream
from ..engine.events import Ended, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..web.context import Context
from ..web.status import build_info
from ..web.websocket_session import WebSocket, run_session
from ..wire import NO_ROOM
from ..wire.ogg_opus import OpusEncoder
from ..wire.query import number, read_options, whole
from . import messages

FLOATS = ("pad_mult", "repetition_penalty")
INTEGERS = ("max_steps", "repetition_penalty_context")
"""Settings of moshi-backend that have no effect."""


@dataclass(frozen=True)
class ChatQuery:
    """What a client asks for. `is_backend`: by the settings of moshi-backend, which a query lacks
    that was made for the servers in Python."""

    served: ServedModel
    options: SpeechToSpeechOptions
    is_backend: bool

    def metadata(self, instance: str) -> dict[str, Any]:
        """How the model is set, in moshi-backend's words: Kyutai's page drops what lacks any."""
        own = self.served.model.sampling
        sampling = {
            "text_temperature": own.temp_text,
            "text_top_k": own.top_k_text,
            "temperature": own.temp,
            "top_k": own.top_k,
        }
        values, names = {**sampling, **given(self.options)}, messages.OPTION_NAMES
        return {names[name][0]: values[name] for name in sampling} | {
            "pad_mult": 0.0,
            "repetition_penalty_context": 32,
            "repetition_penalty": 1.0,
            "lm_model_file": self.served.name,
            "mimi_model_file": self.served.name,
            "build_info": build_info(),
            "instance_name": instance,
        }


def parse_chat_query(path: str, context: Context, query: Mapping[str, str]) -> ChatQuery:
    """Raises UnknownModel, ValueError for a number that is none or out of range; what else a
    query has is ignored."""
    served = context.registry.at(path, Task.SPEECH_TO_SPEECH, query.get("model"))
    names = {
        ours: next((name for name in theirs if query.get(name)), theirs[0])
        for ours, theirs in messages.OPTION_NAMES.items()
    }
    asked = read_options(served.family.options, query, names)
    vain = [number(query, name) for name in FLOATS] + [whole(query, name) for name in INTEGERS]
    if "top_k" in asked:
        most = served.model.language_model.candidates
        asked["top_k"] = min(asked["top_k"] or most, most)
    theirs = [name for name in messages.OPTION_NAMES if name in asked]
    is_backend = bool(theirs) or any(value is not None for value in vain)
    return ChatQuery(served, served.options(**asked), is_backend)


class ChatAdapter:
    """One client's: a stream's events to the bytes of messages, in order."""

    def __init__(self) -> None:
        self._encoder = OpusEncoder()

    def start(self, metadata: Mapping[str, Any] | None = None) -> list[bytes]:
        """Return the messages for a stream that got a slot: the settings of the model, for those
        who ask, and the handshake."""
        first = [] if metadata is None else [messages.pack_chat(messages.ChatMetadata(metadata))]
        return [*first, messages.pack_chat(messages.ChatHandshake())]

    def report(self, event: SessionEvent) -> list[bytes]:
        """Return the messages of an event, the last ones for the end of the stream."""
        match event:
            case Ended(reason="done"):
                return self.end()
            case events.Audio(pcm):
                return self._pages(self._encoder.push(pcm))
            case events.Text(text):
                return [messages.pack_chat(messages.ChatText(text))]
        return []

    def end(self) -> list[bytes]:
        """Return the last messages, once the stream has ended."""
        return self._pages(self._encoder.flush())

    def _pages(self, pages: bytes) -> list[bytes]:
        return [messages.pack_chat(messages.ChatAudio(pages))] if pages else []


@dataclass
class ChatHandler:
    """A client."""

    context: Context
    query: ChatQuery
    adapter: ChatAdapter
    opus: OpusStream

    async def receive(self, session: Session, message: bytes | str) -> None:
        """A message; text is ignored, and so is all after the end of the client's Ogg stream.
        Kyutai's clients never end theirs, but close."""
        if isinstance(message, str) or self.opus.ended:
            return
        said = await self.context.parse(messages.parse_chat, message)
        if isinstance(said, messages.ChatAudio):
            await self.context.feed(session, await self.opus.push(said.data))
            if self.opus.ended:
                session.end()

    def report(self, session: Session, event: SessionEvent) -> list[bytes]:  # noqa: ARG002
        if isinstance(event, Ready):
            instance = self.context.config.instance_name
            return self.adapter.start(
                self.query.metadata(instance) if self.query.is_backend else None
            )
        return self.adapter.report(event)

    def refuse(self) -> list[bytes]:
        return [messages.pack_chat(messages.ChatError(NO_ROOM))]


async def serve_chat(context: Context, socket: WebSocket, query: ChatQuery) -> None:
    """One client; a handshake says when there is room for it, which may take a while."""
    if query.is_backend:
        socket.on_quiet = messages.pack_chat(messages.ChatPing())
    with OpusStream(context.decoders) as opus:
        handler = ChatHandler(context, query, ChatAdapter(), opus)
        wait = context.limits.wait
        await run_session(socket, handler, query.served, wait=wait, options=query.options)
