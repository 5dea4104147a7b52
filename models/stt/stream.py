"""One stream of speech to text: a batch of one row, stepped as it is fed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.exclusive import Exclusive, exclusive
from ..events import Event
from ..state import check_state, state_header
from .batch import SpeechToTextBatch, SpeechToTextRow

if TYPE_CHECKING:
    from .model import SpeechToText

Array = np.ndarray[Any, Any]


class SpeechToTextStream:
    """Audio in, words and pauses out. Belongs to one thread at a time."""

    def __init__(
        self, model: "SpeechToText", batch: SpeechToTextBatch, row: SpeechToTextRow
    ) -> None:
        self.model, self._batch, self._row = model, batch, row

    @property
    def _exclusive(self) -> Exclusive:
        return self._batch.exclusive

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._row.reset()

    @exclusive
    def prime(self, audio: Array, *, cut: bool) -> list[Event]:
        """Hears an audio prompt, float32 `[n]`, before all else; returns the events so far.

        With `cut` its words are left out and times count from the audio that follows.
        """
        self._row.prime(audio, cut=cut)
        return self._run()

    @exclusive
    def feed(self, pcm: Array) -> list[Event]:
        """Takes float32 `[n]` at the model's rate, any n; returns what became known by it.

        Raises UsageError once the stream was flushed.
        """
        self._row.feed(pcm)
        return self._run()

    @exclusive
    def catch_up(self) -> list[Event]:
        """Tells at once what text lags behind with, and the word that is open: silence is fed as
        quickly as it can be computed, and taken off the clock again. For the end of a turn."""
        self._row.hearing.lull()
        return [*self._run(), *self._row.hearing.after_lull()]

    @exclusive
    def restart(self) -> list[Event]:
        """Makes the model begin anew where the audio stands, with nothing remembered; times go on.

        For a model that has stalled; returns the last word and `Restart`.
        """
        self._row.restart()
        return self._run()

    @exclusive
    def flush(self) -> list[Event]:
        """The end of the audio: what the model still has to say, and the last word."""
        return list(self.finish())

    def finish(self) -> Iterator[Event]:
        """All of `flush`, event by event as they are found."""
        self._row.end()
        yield from self._batch.run(self._row)

    @property
    def partial(self) -> str:
        """The text of the word that is being heard and not yet closed."""
        return self._row.hearing.partial

    @property
    def told_until(self) -> float:
        """Seconds of the audio up to which words were told or begun: text lags behind pauses."""
        return self._row.hearing.told_until

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {**state_header(self.model.bundle, self.model.family.name), **self._row.save()}

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where a saved stream stood.

        Raises UsageError if it is of another model, ModelError if it is damaged or of a version
        that this program does not read; then this stream is as it was.
        """
        check_state(
            saved, self.model.bundle, self.model.family.name, SpeechToTextRow.fields(self.model)
        )
        self._row.load(saved)

    def _run(self) -> list[Event]:
        return list(self._batch.run(self._row))
