"""Speech to text on a server."""

import math
import threading
import time
from collections.abc import Collection, Iterator
from typing import Any, Unpack

import numpy as np

from ...models.batch import TokenTrace
from ...models.events import Event, Word, ended_by
from ...models.options import SpeechToTextKwargs, SpeechToTextOptions, TurnPolicy
from ...models.stt.pauses import PauseDetector
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..moshi_server import messages
from ..wire import ProtocolError
from ..wire.messagepack import pack
from .connection import (
    Address,
    Connections,
    ModelInfo,
    RemoteModel,
    ServerError,
    broken,
    busy,
    query_of,
)

AHEAD = 4
"""Messages that wait to be sent, before a file is read on."""
PIECE_SECONDS = 0.08
"""Of audio in a message that is paced."""


class RemoteTask:
    """What one stream asks of a server, and the events of its messages, in their order."""

    def __init__(self, info: ModelInfo, options: SpeechToTextOptions) -> None:
        self.query = {"exact": "true", **query_of(options, here={"policy"})}
        self._info, self._policy = info, options.policy or TurnPolicy()
        self._pauses = PauseDetector(info.frame_rate, info.lead, self._policy)
        self._open: list[str] = []
        self._start = 0.0
        self._end = math.inf
        self.processed_until = 0.0
        """Seconds of the audio up to which words have come."""

    @property
    def partial(self) -> str:
        """The text of the words that have come and are not closed."""
        return " ".join(self._open)

    def prime(self, audio: Pcm, *, cut: bool) -> None:  # noqa: ARG002
        """Raises UsageError: a server takes no audio prompt."""
        raise UsageError("an audio prompt: not over a server; leave it out")

    def end(self, seconds: float) -> None:
        """No event lies beyond so many seconds, which are all of the audio."""
        self._end = seconds

    def take(self, reply: messages.SttReply) -> list[Event]:
        """The events of a message."""
        return [ended_by(event, self._end) for event in self._take(reply)]

    def _take(self, reply: messages.SttReply) -> list[Event]:
        match reply:
            case messages.StepMessage(index, pauses, _):
                time = (index + 1) / self._info.frame_rate - self._info.lead - self._info.delay
                self.processed_until = max(self.processed_until, time)
                if self._policy.head < len(pauses):
                    return self._pauses.push(pauses[self._policy.head], self._open_start)
            case messages.WordMessage(text, start):
                self._start = start if not self._open else self._start
                self._open.append(text)
                self.processed_until = max(self.processed_until, start)
            case messages.WholeWordMessage(text, start, end):
                self._open.clear()
                self.processed_until = max(self.processed_until, end)
                return [Word(text, start, end)]
        return []

    def flush(self) -> list[Event]:
        """The words that were never closed, as one, and the last pause."""
        text, self._open = self.partial, []
        end = max(self._start, self.processed_until)
        words = [Word(text, self._start, end)] if text else []
        return [ended_by(event, self._end) for event in (*words, *self._pauses.flush())]

    @property
    def _open_start(self) -> float | None:
        return self._start if self._open else None


class RemoteSpeechToText(RemoteModel):
    """A model on a server; `rtf` paces what its streams are fed."""

    def __init__(
        self, address: Address, info: ModelInfo, connections: Connections, rtf: float | None = None
    ) -> None:
        super().__init__(address, info, connections)
        self.rtf, self.has_pauses = rtf, info.heads > 0

    def batch(self, rows: int) -> "RemoteBatch":
        """As many streams side by side as the server has slots, but no more than `rows`."""
        return RemoteBatch(self, min(rows, self.info.slots))

    def stream(
        self, *, options: SpeechToTextOptions | None = None, **named: Unpack[SpeechToTextKwargs]
    ) -> "RemoteSpeechToTextStream":
        """One stream, with options as those of `SpeechToText.stream`, as far as a server lets
        clients choose; raises UsageError for more."""
        return RemoteSpeechToTextStream(RemoteRow(self, self.task(options=options, **named)))

    def task(
        self,
        *,
        options: SpeechToTextOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[SpeechToTextKwargs],
    ) -> RemoteTask:
        """What a row of a batch is to do."""
        if trace is not None:
            raise UsageError("a trace: not over a server; leave it out")
        return RemoteTask(self.info, options or SpeechToTextOptions(**named))


class RemoteRow:
    """One session: samples in; words and pauses out, as they come. Raises ServerError if there
    is no room for it."""

    def __init__(
        self,
        model: RemoteSpeechToText,
        task: RemoteTask,
        news: threading.Condition | None = None,
    ) -> None:
        self.connection = model.connect(task.query, news)
        self.task = task
        self.ended = False
        self._samples = 0
        self._address, self._rate, self._rtf = model.address, model.sample_rate, model.rtf
        self._failure: ServerError | None = None
        self._due = time.monotonic()
        self._finished = self._raised = False

    @property
    def waiting(self) -> int:
        """Messages that should be sent before more is fed."""
        return max(0, self.connection.unsent - AHEAD)

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
            self.connection.send(pack(messages.AudioMessage(pcm)))
            return
        size = round(PIECE_SECONDS * self._rate)
        for piece in np.split(pcm, range(size, len(pcm), size)):
            self._due += len(piece) / self._rate / self._rtf
            self.connection.send(pack(messages.AudioMessage(piece)), self._due)

    def end(self) -> None:
        """The audio is over; without any, nothing more is found."""
        if not self.ended:
            self.ended = True
            self.task.end(self._samples / self._rate)
            if self._samples:
                self.connection.send(pack(messages.EosMessage()))
            else:
                self.connection.close()

    def events(self) -> list[Event]:
        """What was found since the last time. Raises ServerError if the session broke off, once
        all that was found before was taken."""
        over, events = self.connection.over, list[Event]()
        for data in self.connection.take():
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
            self.connection.close()
            return []
        if isinstance(reply, messages.ErrorMessage):
            self._fail(busy(self._address, reply.message))
            return []
        return self.task.take(reply)

    def _reason(self) -> ServerError | None:
        """Why the session is over, if not all is said."""
        try:
            self.connection.check()
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
            row.connection.close()

    def step(self, held: Collection[Any] = ()) -> bool:
        """Waits until there is something to take or to feed; False if nothing more will be."""
        rows = [row for row in self._rows if row not in held and not row.connection.over]
        if not rows:
            return False
        with self._news:
            self._news.wait_for(lambda: any(map(_is_ready, self._rows)), 1.0)
        return True


def _is_ready(row: RemoteRow) -> bool:
    return row.connection.has_news or not (row.ended or row.waiting)


class RemoteSpeechToTextStream:
    """One session as a stream. What `feed` returns is what has come by then."""

    def __init__(self, row: RemoteRow) -> None:
        self._row = row

    def feed(self, pcm: Pcm) -> list[Event]:
        """Sends float32 `[n]` at the model's rate; raises ServerError if the session is lost."""
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
                row.connection.wait()
                yield from row.events()
        finally:
            row.connection.close()

    @property
    def task(self) -> RemoteTask:
        """What is known of its words."""
        return self._row.task
