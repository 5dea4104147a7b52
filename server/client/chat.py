"""Hibiki and Moshi on a server: speech and text, both ways at once."""

from collections.abc import Iterator
from typing import Unpack

import numpy as np

from ...models.events import Audio, Event, Text
from ...models.options import SpeechToSpeechOptions, TranslationKwargs, TranslationOptions
from ...runtime.audio import Pcm
from ..moshi_server.messages import (
    OPTION_NAMES,
    ChatAudio,
    ChatError,
    ChatHandshake,
    ChatText,
    pack_chat,
    parse_chat,
)
from ..wire import ProtocolError
from ..wire.ogg_opus import OpusDecoder, OpusEncoder
from .connection import Connection, RemoteModel, broken, busy, query_of


class RemoteChat(RemoteModel):
    """A model on a server."""

    def stream(
        self,
        *,
        options: SpeechToSpeechOptions | None = None,
        **named: Unpack[TranslationKwargs],
    ) -> "RemoteTalk":
        """One talk, with options as those of `Hibiki.stream`, as far as a server lets clients
        choose. Raises UsageError for more, ServerError if it cannot be reached."""
        query = query_of(options or TranslationOptions(**named))
        theirs = {OPTION_NAMES.get(name, (name,))[0]: value for name, value in query.items()}
        return RemoteTalk(self, self.connect(theirs))


class RemoteTalk:
    """One session: samples in, `Audio` and `Text` out, as they come. Both go as Opus."""

    spoken_seconds = 0.0
    """Of speech before this session."""

    def __init__(self, model: RemoteChat, connection: Connection) -> None:
        self.model, self._connection = model, connection
        self._encoder, self._decoder = OpusEncoder(), OpusDecoder()
        self._samples = 0
        self._ready = self._ended = False

    @property
    def received_seconds(self) -> float:
        """How much was fed, in whole frames."""
        frames = self._samples // self.model.frame_size
        return frames / self.model.frame_rate

    def feed(self, pcm: Pcm) -> list[Event]:
        """Sends float32 `[n]` at the model's rate; returns what has come by now. Raises ServerError
        where the session broke off."""
        self._wait_until_ready()
        self._samples += len(pcm)
        self._send(self._encoder.push(np.clip(pcm, -1, 1)))
        return self._run()

    @property
    def task(self) -> "RemoteTalk":
        """What is known of it."""
        return self

    def end(self) -> None:
        """The end of the audio: `events` gives the rest."""
        if not self._ended:
            self._ended = True
            self._send(self._encoder.end())

    def events(self) -> Iterator[Event]:
        """What has come by now; after `end` all that is still to come, as it comes."""
        if not self._ended:
            yield from self._run()
            return
        while not self._connection.over:
            self._connection.wait()
            yield from self._run()
        while events := self._run():
            yield from events

    def close(self) -> list[Event]:
        """Ends here: the server is left."""
        self._connection.close()
        return []

    def _wait_until_ready(self) -> None:
        """A server may let its clients wait for a slot, and says when they have one."""
        while not (self._ready or self._connection.over):
            self._connection.wait()
            self._run()

    def _send(self, pages: bytes) -> None:
        if pages:
            self._connection.send(pack_chat(ChatAudio(pages)))

    def _run(self) -> list[Event]:
        over = self._connection.over
        events = [event for data in self._connection.take() for event in self._take(data)]
        if over and not events:
            self._connection.check()
            if not self._ended:
                raise broken(self.model.address, "it closed before the audio's end")
        return events

    def _take(self, data: bytes) -> list[Event]:
        address = self.model.address
        try:
            message = parse_chat(data)
            match message:
                case ChatHandshake():
                    self._ready = True
                case ChatAudio(pages):
                    pcm = self._decoder.push(pages)
                    return [Audio(pcm)] if len(pcm) else []
                case ChatText(text):
                    return [Text(text)]
                case ChatError(text):
                    raise busy(address, text)
        except ProtocolError as error:
            raise broken(address, str(error)) from None
        return []
