"""A stream's events to messages of `/api/chat`."""

from collections.abc import Mapping
from typing import Any

from ...models import events
from ..wire.ogg_opus import OpusEncoder
from .chat_messages import ChatAudio, ChatHandshake, ChatMetadata, ChatText, pack_chat


class ChatAdapter:
    """One client's: a stream's events to the bytes of messages, in order."""

    def __init__(self) -> None:
        self._encoder = OpusEncoder()

    def start(self, metadata: Mapping[str, Any] | None = None) -> list[bytes]:
        """Return the messages for a stream that got a slot: the settings of the model, for those
        who ask, and the handshake."""
        first = [] if metadata is None else [pack_chat(ChatMetadata(metadata))]
        return [*first, pack_chat(ChatHandshake())]

    def report(self, event: events.Event) -> list[bytes]:
        """Return the messages of an event."""
        match event:
            case events.Audio(pcm):
                return self._pages(self._encoder.push(pcm))
            case events.Text(text):
                return [pack_chat(ChatText(text))]
        return []

    def end(self) -> list[bytes]:
        """Return the last messages, once the stream has ended."""
        return self._pages(self._encoder.flush())

    def _pages(self, pages: bytes) -> list[bytes]:
        return [pack_chat(ChatAudio(pages))] if pages else []
