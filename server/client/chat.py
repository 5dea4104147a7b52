"""Hibiki and Moshi on a server: speech and text, both ways at once."""

from collections.abc import Iterator

import numpy as np

from ...models.events import Audio, Event, Text
from ...runtime.audio import Pcm
from ..moshi_server.chat_messages import (
    ChatAudio,
    ChatError,
    ChatHandshake,
    ChatText,
    pack_chat,
    parse_chat,
)
from ..wire.errors import ProtocolError
from ..wire.ogg_opus import OpusDecoder, OpusEncoder
from .errors import broken, busy
from .line import Line
from .server import Info, RemoteServer


class RemoteChat:
    """A model on a server."""

    def __init__(self, server: RemoteServer, info: Info) -> None:
        self.server, self.info = server, info
        self.name, self.precision, self.family = info.id, info.precision, info.family
        self.sample_rate, self.frame_size = info.sample_rate, info.frame_size
        self.frame_rate = info.frame_rate

    def stream(
        self,
        *,
        temperature: float | None = None,
        text_temperature: float | None = None,
        seed: int | None = None,
    ) -> "RemoteTalk":
        """One talk; told as `SpeechModel.stream` is. Raises ServerError where it cannot be
        reached."""
        query = {
            "audio_temperature": temperature,
            "text_temperature": text_temperature,
            "audio_seed": seed,
        }
        return RemoteTalk(self, self.server.line(self.info, query))


class RemoteTalk:
    """One session: samples in, `Audio` and `Text` out, as they come. Both go as Opus."""

    spoken_seconds = 0.0
    """Of speech before this session."""

    def __init__(self, model: RemoteChat, line: Line) -> None:
        self.model, self._line = model, line
        self._encoder, self._decoder = OpusEncoder(), OpusDecoder()
        self._samples = 0
        self._ready = self._ended = False

    @property
    def heard_seconds(self) -> float:
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
        while not self._line.over:
            self._line.wait()
            yield from self._run()
        while events := self._run():
            yield from events

    def close(self) -> list[Event]:
        """Ends here: the server is left."""
        self._line.close()
        return []

    def _wait_until_ready(self) -> None:
        """A server may let its clients wait for a slot, and says when they have one."""
        while not (self._ready or self._line.over):
            self._line.wait()
            self._run()

    def _send(self, pages: bytes) -> None:
        if pages:
            self._line.send(pack_chat(ChatAudio(pages)))

    def _run(self) -> list[Event]:
        over = self._line.over
        events = [event for data in self._line.take() for event in self._take(data)]
        if over and not events:
            self._line.check()
            if not self._ended:
                raise broken(self.model.server.address, "it closed before the audio's end")
        return events

    def _take(self, data: bytes) -> list[Event]:
        address = self.model.server.address
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
