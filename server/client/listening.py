"""Speech to text on a server."""

import threading
import time
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from ...models.events import Event
from ...models.stt.pauses import TurnPolicy
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..moshi_server import messages
from ..wire.errors import ProtocolError
from ..wire.messagepack import pack
from .errors import ServerError, broken, busy
from .heard import RemoteTask
from .server import Info, RemoteServer

AHEAD = 4
"""Messages that wait to be sent, before a file is read on."""
PIECE_SECONDS = 0.08
"""Of audio in a message that is paced."""


class RemoteSpeechToText:
    """A model on a server; `rtf` paces what its streams are fed."""

    def __init__(self, server: RemoteServer, info: Info, rtf: float | None = None) -> None:
        self.server, self.info, self.rtf = server, info, rtf
        self.name, self.precision = info.id, info.precision
        self.sample_rate, self.frame_size = info.sample_rate, info.frame_size
        self.has_pauses = info.heads > 0

    def batch(self, rows: int) -> "RemoteBatch":
        """As many streams side by side as the server has slots, but no more than `rows`."""
        return RemoteBatch(self, min(rows, self.info.slots))

    def stream(
        self,
        *,
        temperature: float | None = None,
        seed: int | None = None,
        policy: TurnPolicy | None = None,
    ) -> "RemoteSpeechToTextStream":
        """One stream, with options as those of `SpeechToText.stream`."""
        task = self.task(temperature=temperature, seed=seed, policy=policy)
        return RemoteSpeechToTextStream(RemoteRow(self, task))

    def task(
        self,
        *,
        temperature: float | None = None,
        seed: int | None = None,
        policy: TurnPolicy | None = None,
    ) -> RemoteTask:
        """What a row of a batch is to do."""
        return RemoteTask(self.info, temperature, seed, policy)


class RemoteRow:
    """One session: samples in; words and pauses out, as they come. Raises ServerError where there
    is no room for it."""

    def __init__(
        self,
        model: RemoteSpeechToText,
        task: RemoteTask,
        news: threading.Condition | None = None,
    ) -> None:
        query = {"exact": "true", "temperature": task.temperature, "seed": task.seed}
        self.line = model.server.line(model.info, query, news)
        self.task = task
        self.ended = False
        self._samples = 0
        self._address, self._rate, self._rtf = model.server.address, model.sample_rate, model.rtf
        self._failure: ServerError | None = None
        self._due = time.monotonic()
        self._finished = self._raised = False

    @property
    def waiting(self) -> int:
        """Messages that should be sent before more is fed."""
        return max(0, self.line.unsent - AHEAD)

    @property
    def done(self) -> bool:
        """Whether all is said, or nothing more will be."""
        return self._finished and (self._failure is None or self._raised)

    def feed(self, pcm: Pcm) -> None:
        """Sends float32 `[n]` at the model's rate, any n; raises UsageError after `end`."""
        if self.ended:
            raise UsageError("this stream has ended; open another one")
        self._samples += len(pcm)
        if self._rtf is None:
            self.line.send(pack(messages.AudioMessage(pcm)))
            return
        size = round(PIECE_SECONDS * self._rate)
        for piece in np.split(pcm, range(size, len(pcm), size)):
            self._due += len(piece) / self._rate / self._rtf
            self.line.send(pack(messages.AudioMessage(piece)), self._due)

    def end(self) -> None:
        """The audio is over; without any, nothing more is found."""
        if not self.ended:
            self.ended = True
            self.task.end(self._samples / self._rate)
            if self._samples:
                self.line.send(pack(messages.EosMessage()))
            else:
                self.line.close()

    def events(self) -> list[Event]:
        """What was found since the last time. Raises ServerError where the session broke off, once
        all that was found before was taken."""
        over, events = self.line.over, list[Event]()
        for data in self.line.take():
            events += self._take(data)
        if over and not self._finished:
            self._finished = True
            events += self.task.flush()
            self._fail(self._reason())
        if events or self._failure is None or self._raised:
            return events
        self._raised = True
        raise self._failure

    def _take(self, data: bytes) -> list[Event]:
        try:
            reply = messages.parse_stt_reply(data)
        except ProtocolError as error:
            self._fail(broken(self._address, str(error)))
            self.line.close()
            return []
        if isinstance(reply, messages.ErrorMessage):
            self._fail(busy(self._address, reply.message))
            return []
        return self.task.take(reply)

    def _reason(self) -> ServerError | None:
        """Why the session is over, if not all is said."""
        try:
            self.line.check()
        except ServerError as error:
            return error
        return None if self.ended else broken(self._address, "it closed before the audio's end")

    def _fail(self, failure: ServerError | None) -> None:
        self._failure = self._failure or failure


class RemoteBatch:
    """`rows` sessions at most."""

    def __init__(self, model: RemoteSpeechToText, rows: int) -> None:
        self.model, self.rows = model, rows
        self._news = threading.Condition()
        self._rows: list[RemoteRow] = []

    @property
    def free(self) -> int:
        """How many more may join."""
        return self.rows - len(self._rows)

    def join(self, task: RemoteTask) -> RemoteRow:
        """A new session."""
        row = RemoteRow(self.model, task, self._news)
        self._rows.append(row)
        return row

    def leave(self, row: RemoteRow) -> None:
        """Ends a session, whatever was left to say."""
        if row in self._rows:
            self._rows.remove(row)
            row.line.close()

    def step(self, held: Collection[Any] = ()) -> bool:
        """Waits until there is something to take or to feed; False where nothing more will be."""
        rows = [row for row in self._rows if row not in held and not row.line.over]
        if not rows:
            return False
        with self._news:
            self._news.wait_for(lambda: any(map(_is_ready, self._rows)), 1.0)
        return True


def _is_ready(row: RemoteRow) -> bool:
    return row.line.has_news or not (row.ended or row.waiting)


class RemoteSpeechToTextStream:
    """One session as a stream. What `feed` returns is what has come by then."""

    def __init__(self, row: RemoteRow) -> None:
        self._row = row

    def feed(self, pcm: Pcm) -> list[Event]:
        """Sends float32 `[n]` at the model's rate; raises ServerError where the session is lost."""
        self._row.feed(pcm)
        return self._row.events()

    def flush(self) -> list[Event]:
        """The end of the audio: all that is still to be found."""
        self.end()
        return list(self.events())

    def end(self) -> None:
        """The audio is over: `events` gives the rest."""
        self._row.end()

    def events(self) -> Iterator[Event]:
        """What has come by now; after `end` all that is still to come, event by event."""
        row = self._row
        if not row.ended:
            yield from row.events()
            return
        try:
            while not row.done:
                row.line.wait()
                yield from row.events()
        finally:
            row.line.close()

    @property
    def task(self) -> RemoteTask:
        """What is known of its words."""
        return self._row.task
