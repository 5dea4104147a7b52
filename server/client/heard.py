"""What a server tells of what it hears, as the events of a stream that is here."""

import math

from ...models.events import Event, Word, ended_by
from ...models.stt.pauses import PauseDetector, TurnPolicy
from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ..moshi_server import messages
from ..moshi_server.messages import StepMessage, WholeWordMessage
from .server import Info


class RemoteTask:
    """What one stream asks of a server, and the events of its messages, in their order."""

    def __init__(
        self,
        info: Info,
        temperature: float | None = None,
        seed: int | None = None,
        policy: TurnPolicy | None = None,
    ) -> None:
        self.temperature, self.seed = temperature, seed
        self._info, self._policy = info, policy or TurnPolicy()
        self._pauses = PauseDetector(info.frame_rate, info.lead, self._policy)
        self._open: list[str] = []
        self._start = 0.0
        self._end = math.inf
        self.processed_until = 0.0
        """Seconds of the audio up to which words were told."""

    @property
    def partial(self) -> str:
        """The text of the words that were told and are not closed."""
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
            case StepMessage(index, pauses, _):
                time = (index + 1) / self._info.frame_rate - self._info.lead - self._info.delay
                self.processed_until = max(self.processed_until, time)
                if self._policy.head < len(pauses):
                    return self._pauses.push(pauses[self._policy.head], self._open_start)
            case messages.WordMessage(text, start):
                self._start = start if not self._open else self._start
                self._open.append(text)
                self.processed_until = max(self.processed_until, start)
            case WholeWordMessage(text, start, end):
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
