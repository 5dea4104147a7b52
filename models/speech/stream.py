"""One stream of a model that hears speech and speaks: a batch of one row, stepped as it is fed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ...runtime.exclusive import Exclusive, exclusive
from ...runtime.typing import Array
from ..events import Event
from ..options import SamplingParams
from ..row_batch import RowBatch
from ..state import check_state, state_header
from .task import Settings, SpeechRow, Trace

if TYPE_CHECKING:
    from .model import SpeechModel


class SpeechStream:
    """Audio in; `Audio`, `Text` and `Word` out. Belongs to one thread at a time."""

    _row: SpeechRow

    def __init__(
        self, model: "SpeechModel", settings: Settings, trace: Trace | None = None
    ) -> None:
        self.model, self.settings, self._trace = model, settings, trace
        self._batch, self._row = self._open(guided=settings.guidance is not None)

    @property
    def _exclusive(self) -> Exclusive:
        return self._batch.exclusive

    @exclusive
    def feed(self, pcm: Array) -> list[Event]:
        """Takes float32 `[n]` at the model's rate, any n; returns what was spoken by it.

        Raises UsageError once the stream was flushed.
        """
        self._row.feed(pcm)
        return list(self._batch.run(self._row))

    def finish(self) -> Iterator[Event]:
        """The end of the audio, less what does not fill a frame: what is still to be said, as it is
        made. Goes on where it was left."""
        self._row.end()
        yield from self._batch.run(self._row)

    @exclusive
    def flush(self) -> list[Event]:
        """All of `finish` at once."""
        return list(self.finish())

    @exclusive
    def break_off(self) -> list[Event]:
        """Ends here, with nothing more made: the last word."""
        self._row.break_off()
        return self._row.events()

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._row.reset()

    def fork(self) -> Self:
        """Another stream that goes on from here by itself."""
        other = type(self)(self.model, self.settings)
        other.load(self.save())
        return other

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {**state_header(self.model.bundle, self.model.family.name), **self._row.save()}

    @exclusive
    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Goes on where a saved stream stood, drawing as it did, or from now on by another seed.

        Raises UsageError if it is of another model, ModelError if it is damaged or of a version
        that this program does not read; then this stream is as it was.
        """
        model = self.model
        check_state(saved, model.bundle, model.family.name, self._row.fields(model))
        of_model, drawing, batch, row = saved["language_model"], None, self._batch, self._row
        if seed is not None:
            drawing = replace(SamplingParams.load(of_model["sampling"]), seed=seed)
        if of_model["guidance"] is not None and not batch.guided:
            batch, row = self._open(guided=True)
        row.load(saved, drawing)
        self._batch, self._row = batch, row

    @property
    def seed(self) -> int | None:
        """What makes its draws repeat."""
        return self._row.seed

    @property
    def heard_seconds(self) -> float:
        """How much was heard, in whole frames."""
        return self._row.heard_seconds

    @property
    def spoken_seconds(self) -> float:
        """How much was spoken, from which the times of words count."""
        return self._row.spoken_seconds

    def _open(self, *, guided: bool) -> tuple[RowBatch[SpeechRow], SpeechRow]:
        batch = RowBatch[SpeechRow](self.model, 1, guided=guided)
        return batch, batch.add(self._begun(batch))

    def _begun(self, batch: RowBatch[SpeechRow]) -> SpeechRow:
        return SpeechRow(batch, self.model, self.settings, self._trace)
