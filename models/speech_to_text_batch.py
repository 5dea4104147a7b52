"""Many streams of speech to text through one step of the language model: rows join and leave at
any frame."""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.errors import UsageError
from .events import Event
from .generation import Generator
from .hearing import Frame, Heard, Hearing

if TYPE_CHECKING:
    from .speech_to_text import SpeechToText

Array = np.ndarray[Any, Any]


class BatchRow:
    """One stream of a batch: what it was fed waits here until the batch is stepped, what it found
    until it is taken."""

    def __init__(self, row: int, hearing: Hearing) -> None:
        self.row, self.hearing = row, hearing
        self.waiting: deque[Frame] = deque()
        self._events: list[Event] = []
        self.ended = self._finished = False

    def prime(self, audio: Array, *, cut: bool) -> None:
        """Takes an audio prompt before all else, as `SpeechToTextStream.prime` does."""
        self.waiting.extend(self.hearing.prime(audio, cut=cut))

    def feed(self, pcm: Array) -> None:
        """Takes float32 `[n]` at the model's rate, any n; raises UsageError after `end`."""
        if self.ended:
            raise UsageError("this row was ended: join again for another stream")
        self.waiting.extend(self.hearing.push(pcm))

    def end(self, *, silence: bool = True) -> None:
        """The audio is over; the row is `done` once its frames are stepped. Without the `silence`
        after it, nothing that the model lags behind with is said."""
        if not self.ended:
            self.waiting.extend(self.hearing.end() if silence else [])
            self.ended = True

    @property
    def done(self) -> bool:
        """Whether nothing more will be found."""
        return self.ended and not self.waiting

    def take(self) -> list[Event]:
        """What was found since the last time."""
        events, self._events = self._events, []
        if self.done and not self._finished:
            self._finished = True
            events += self.hearing.finish()
        return events

    def found(self, events: list[Event]) -> None:
        self._events += events


class SpeechToTextBatch:
    """`rows` streams at most, stepped together. Belongs to one thread at a time."""

    def __init__(self, model: "SpeechToText", rows: int) -> None:
        self._model, spec = model, model.language_model.spec
        self._generator = Generator(model.language_model, rows)
        self._rows: list[BatchRow | None] = [None] * rows
        self._codes = np.zeros((rows, spec.n_q - spec.dep_q), np.int64)

    @property
    def free(self) -> int:
        """How many more may join."""
        return self._rows.count(None)

    def join(
        self,
        *,
        prompt: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        heard: Heard | None = None,
    ) -> BatchRow:
        """A new stream, told as `SpeechToText.stream` is; raises UsageError as that does, and where
        all rows are taken."""
        if not self.free:
            raise UsageError(f"all {len(self._rows)} rows are taken: let one leave first")
        row, said_first = self._rows.index(None), self._model.spell(prompt) if prompt else ()
        joined = BatchRow(row, Hearing(self._model, said_first, heard))
        drawing = self._model.drawing(temperature, seed)
        self._generator.begin(row, drawing, joined.hearing.prompt)
        self._rows[row] = joined
        return joined

    def leave(self, row: BatchRow) -> None:
        """Makes room for another stream, whatever was left to say."""
        if self._rows[row.row] is row:
            self._rows[row.row] = None

    def step(self) -> bool:
        """Steps every row that has a frame waiting; returns whether there was one."""
        stepped = [row for row in self._rows if row is not None and row.waiting]
        if not stepped:
            return False
        active = np.zeros(len(self._rows), np.bool_)
        frames = {row.row: row.waiting.popleft() for row in stepped}
        for row in stepped:
            frame = frames[row.row]
            active[row.row] = True
            self._codes[row.row] = frame.codes
            row.hearing.prompt.heard = frame.heard
        made = self._generator.step(self._codes, active)
        for row in stepped:
            row.found(row.hearing.take(frames[row.row], made, row.row))
        return True
