"""`/api/chat`: Moshi and Hibiki, spoken with over one websocket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...models import events
from ...models.families import Task
from ..decoding import OpusStream
from ..engine.events import Ended, Ready, SessionEvent
from ..engine.session import Session
from ..registry import ServedModel
from ..web.context import Context
from ..web.status import build_info
from ..web.websocket_session import WebSocket, number, run_session, whole
from ..wire import NO_ROOM
from ..wire.ogg_opus import OpusEncoder
from . import messages

FLOATS = ("text_temperature", "audio_temperature", "pad_mult", "repetition_penalty")
INTEGERS = (
    *("text_topk", "audio_topk", "max_steps", "audio_seed", "text_seed"),
    "repetition_penalty_context",
)


@dataclass(frozen=True)
class ChatQuery:
    """What a client asks for; `asked` are the settings of moshi-backend that its query has, none
    where it was made for the servers in Python."""

    served: ServedModel
    asked: Mapping[str, float]

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of `ServedModel.join`."""
        asked = self.asked
        return {
            "temperature": asked.get("audio_temperature"),
            "text_temperature": asked.get("text_temperature"),
            "top_k": self._candidates,
            "text_top_k": asked.get("text_topk"),
            "seed": asked.get("audio_seed", asked.get("text_seed")),
        }

    @property
    def _candidates(self) -> int | None:
        """Codes that are drawn from: no more than the model was exported for."""
        if "audio_topk" not in self.asked:
            return None
        most, wanted = self.served.model.language_model.candidates, int(self.asked["audio_topk"])
        return min(wanted or most, most)

    def metadata(self, instance: str) -> dict[str, Any]:
        """How the model is set, in moshi-backend's words: Kyutai's page drops what lacks any."""
        sampling, config = self.served.model.sampling, self.served.config
        temperature = config.temperature
        return {
            "text_temperature": sampling.temp_text if temperature is None else temperature,
            "text_topk": sampling.top_k_text,
            "audio_temperature": sampling.temp if temperature is None else temperature,
            "audio_topk": self._candidates or sampling.top_k,
            "pad_mult": 0.0,
            "repetition_penalty_context": 32,
            "repetition_penalty": 1.0,
            "lm_model_file": self.served.name,
            "mimi_model_file": self.served.name,
            "build_info": build_info(),
            "instance_name": instance,
        } | {name: self.asked[name] for name in HONOURED if name in self.asked}


HONOURED = ("text_temperature", "audio_temperature", "text_topk")


def parse_chat_query(path: str, context: Context, query: Mapping[str, str]) -> ChatQuery:
    """Raises UnknownModel, ValueError for a number that is none or out of range; what else a
    query has is ignored."""
    served = context.registry.at(path, Task.SPEECH_TO_SPEECH, query.get("model"))
    found = {name: number(query, name) for name in FLOATS}
    found |= {name: whole(query, name) for name in INTEGERS}
    asked = {name: value for name, value in found.items() if value is not None}
    return ChatQuery(served, asked)


class ChatAdapter:
    """One client's: a stream's events to the bytes of messages, in order."""

    def __init__(self) -> None:
        self._encoder = OpusEncoder()

    def start(self, metadata: Mapping[str, Any] | None = None) -> list[bytes]:
        """Return the messages for a stream that got a slot: the settings of the model, for those
        who ask, and the handshake."""
        first = [] if metadata is None else [messages.pack_chat(messages.ChatMetadata(metadata))]
        return [*first, messages.pack_chat(messages.ChatHandshake())]

    def report(self, event: events.Event) -> list[bytes]:
        """Return the messages of an event."""
        match event:
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
        match event:
            case Ready():
                instance = self.context.config.instance_name
                return self.adapter.start(
                    self.query.metadata(instance) if self.query.asked else None
                )
            case Ended(reason="done"):
                return self.adapter.end()
            case Ended():
                return []
        return self.adapter.report(event)  # type: ignore[arg-type]

    def refuse(self) -> list[bytes]:
        return [messages.pack_chat(messages.ChatError(NO_ROOM))]


async def serve_chat(context: Context, socket: WebSocket, query: ChatQuery) -> None:
    """One client; a handshake says when there is room for it, which may take a while."""
    if query.asked:
        socket.on_quiet = messages.pack_chat(messages.ChatPing())
    with OpusStream(context.decoders) as opus:
        handler = ChatHandler(context, query, ChatAdapter(), opus)
        wait = context.limits.wait
        await run_session(socket, handler, query.served, wait=wait, **query.given)
