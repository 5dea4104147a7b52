"""Many streams through one step: a batch of rows, each with its family's task, or a stream alone.

A row keeps what it is given until the batch is stepped, and what it finds until `events` takes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar, final

import numpy as np

from ..runtime.errors import UsageError
from ..runtime.exclusive import Exclusive, exclusive
from ..runtime.typing import Array
from .events import Event
from .lm.generation import Generator, StepHooks, StepOutput
from .lm.language_model import Conditions, Guidance, SamplingParams
from .mimi.batched import BatchedDecoder, BatchedEncoder
from .mimi.frame_queue import FrameQueue
from .model import Model
from .stream_state import Field, GraphState, Record, check_state, state_header


@dataclass
class TokenTrace:
    """What a stream read and made, frame by frame, for comparison: codes `[n_q - dep_q]` that it
    read, text tokens, and codes `[dep_q]` that it made."""

    codes: list[Array] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    audio: list[Array] = field(default_factory=list)


class RowTask(ABC):
    """What one row, and no other, does with each step. `reset` makes all that it remembers.

    `sampling`, `conditions` and `guidance` are those of its generation; `trace` is filled with what
    it reads and makes.
    """

    row: "Row[Any]"
    """Where it is stepped."""

    queue: FrameQueue
    """Its frames, where it reads audio."""

    hooks: StepHooks
    """What it decides within a step of the language model."""

    seed: int | None
    """The seed of its sampling."""

    found: list[Event]
    """Events that nobody has taken yet."""

    ended: bool
    """Whether its input is over."""

    finished: bool
    """Whether its last events are found."""

    def __init__(
        self,
        model: Model,
        sampling: SamplingParams,
        *,
        conditions: Conditions | None = None,
        guidance: Guidance | None = None,
        trace: TokenTrace | None = None,
    ) -> None:
        self.model, self.sampling, self.trace = model, sampling, trace
        self.conditions, self.guidance = conditions, guidance
        self.exclusive = Exclusive()
        self.reset()

    @property
    def _exclusive(self) -> Exclusive:
        return self.exclusive

    @property
    def is_guided(self) -> bool:
        """Whether it needs a batch that is guided."""
        return self.guidance is not None

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Frames, or words, that could be stepped now; 0 if there is nothing to do."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether its input is over and all of it is stepped."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it has all that its next step takes."""

    @abstractmethod
    def feed(self, chunk: Any) -> None:
        """Take more input: samples float32 `[n]`, or text."""

    @abstractmethod
    def end(self) -> None:
        """The input is over."""

    @abstractmethod
    def close(self) -> None:
        """End here: what is left is not stepped."""

    def begin(self) -> None:
        """Start in its row, in which nothing is remembered."""
        self.row.batch.generator.begin(
            self.row.index,
            self.sampling,
            self.hooks,
            conditions=self.conditions,
            guidance=self.guidance,
        )

    def prepare(self) -> None:  # noqa: B027
        """Before each step: input that comes by itself."""

    @abstractmethod
    def next_codes(self) -> Array:
        """The codes `[n_q - dep_q]` of the next step."""

    @abstractmethod
    def on_step(self, output: StepOutput, index: int) -> Array | None:
        """Take what a step made in its row, `index`; returns codes `[dep_q]` to decode, if any."""

    def on_audio(self, pcm: Array) -> None:  # noqa: B027
        """Take the samples float32 `[n]` of the codes that `on_step` returned."""

    @abstractmethod
    def flush(self) -> list[Event]:
        """What is found when nothing more comes."""

    def finish(self) -> None:
        """Find what is last, once the stream is done."""
        if self.done and not self.finished:
            self.finished = True
            self.found += self.flush()

    @abstractmethod
    def reset(self) -> None:
        """Back to the beginning; call this first in a subclass."""
        self.hooks, self.seed = StepHooks(), self.sampling.seed
        self.found, self.ended, self.finished = [], False, False

    @staticmethod
    @abstractmethod
    def fields(model: Any) -> Record:
        """What a task of such a model saves."""

    @abstractmethod
    def save(self) -> dict[str, Any]:
        """Its memory, as `fields` says."""

    @abstractmethod
    def load(self, saved: dict[str, Any]) -> None:
        """Continue where another one stood. Raises nothing that `check` does not."""

    def check(self, saved: dict[str, Any]) -> None:  # noqa: B027
        """Raise UsageError for what it cannot go on from, though all fields are right."""

    def resampled(self, saved: SamplingParams, seed: int) -> SamplingParams:
        """How a saved stream is sampled from now on, by another seed."""
        return replace(saved, seed=seed)

    def again(self) -> Self:
        """Another one with the same options, at its beginning."""
        other = copy(self)
        other.reset()
        return other


T = TypeVar("T", bound=RowTask)
V = TypeVar("V")


def state_fields(task: type[RowTask], model: Model) -> Record:
    """What is saved of a stream with such a task."""
    graphs: dict[str, Field] = {"language_model": Generator.fields(model.language_model)}
    if model.family.reads_audio:
        graphs["encoder"] = GraphState(model.mimi.open("encode").states)
    if model.family.writes_audio:
        graphs["decoder"] = GraphState(model.mimi.open("decode").states)
    return task.fields(model) | Record(graphs)


@final
class Row(Generic[T]):
    """One stream of a batch. What goes wrong in it ends it alone: `error`, which `events` raises.

    It is not stepped again before it is reset.
    """

    def __init__(self, batch: "Batch[T]", task: T) -> None:
        self.batch, self.task = batch, task
        self._index: int | None = None
        self.error: Exception | None = None
        task.row, task.exclusive = self, batch.exclusive

    @property
    def _exclusive(self) -> Exclusive:
        return self.batch.exclusive

    @property
    def waiting(self) -> int:
        """Frames, or words, that could be stepped now; 0 if there is nothing to do."""
        return self.task.waiting

    @property
    def ended(self) -> bool:
        """Whether its input is over."""
        return self.task.ended

    @property
    def done(self) -> bool:
        """Whether its input is over and all of it is stepped."""
        return self.task.done

    @property
    def has_left(self) -> bool:
        """Whether it is no row of its batch any more."""
        return self._index is None

    @property
    def index(self) -> int:
        """Where it lies in the graphs; raises UsageError if it has left."""
        if self._index is None:
            raise UsageError("this row has left its batch: join again")
        return self._index

    def move_to(self, index: int | None) -> None:
        """Note where its batch has put it; None if it has left."""
        self._index = index

    @exclusive
    def feed(self, chunk: Any, /) -> None:
        """Take more: samples float32 `[n]` at the model's rate, any n, or any piece of text.

        Raises UsageError after `end`, and for samples that are no audio.
        """
        self.check_open()
        self.task.feed(chunk)

    @exclusive
    def end(self) -> None:
        """The input is over; the row is `done` once all of it is stepped."""
        if not self.task.ended:
            self.task.end()
        self._finish()

    @exclusive
    def close(self) -> None:
        """End here: what is left is not stepped, the last word is found."""
        self.task.close()
        self._finish()

    @exclusive
    def events(self) -> list[Event]:
        """What was found since the last time; raises what went wrong in the stream."""
        if self.error is not None:
            raise self.error
        events, self.task.found = self.task.found, []
        return events

    @exclusive
    def flush(self) -> list[Event]:
        """End it and steps the batch for it: all that is still to be found."""
        self.end()
        return list(self.batch.run(self))

    @exclusive
    def reset(self) -> None:
        """Start over, as a task that joins does.

        Raises UsageError for a row that has left.
        """
        index = self.index
        self.error = None
        self.task.reset()
        self.batch.clear(index)
        self.task.begin()
        self._finish()

    @exclusive
    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another one of the same weights."""
        self._check_whole()
        index, model = self.index, self.task.model
        graphs = {name: part.save(index) for name, part in self.batch.graphs.items()}
        return {**state_header(model.bundle, model.family.name), **self.task.save(), **graphs}

    @exclusive
    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Continue where a saved stream stood, sampling as it did, or from now on by another seed.

        Raises UsageError if it is of another model or guided and the batch is not, ModelError if it
        is damaged or of a version that this program does not read; then this stream is as it was.
        """
        saved = self.check(saved)
        sampling = SamplingParams.load(saved["language_model"]["sampling"])
        self.resume(saved, None if seed is None else self.task.resampled(sampling, seed))

    @exclusive
    def fork(self) -> "Row[T]":
        """Another row of the batch that goes on from here by itself; raises UsageError if no row is
        free."""
        self._check_whole()
        other = self.batch.join(self.task.again())
        other.task.trace = None
        other.resume(self.save())
        return other

    def check(self, saved: dict[str, Any]) -> dict[str, Any]:
        """Return a saved stream as this version would have saved it; raises as `load` does for one
        that its task cannot go on from."""
        model = self.task.model
        fields = state_fields(type(self.task), model)
        saved = check_state(saved, model.bundle, model.family.name, fields)
        self.task.check(saved)
        return saved

    def resume(self, saved: dict[str, Any], sampling: SamplingParams | None = None) -> None:
        """Continue where a stream stood that was checked, sampling as it did or by `sampling`."""
        self.batch.generator.check(saved["language_model"], sampling)
        self.task.load(saved)
        self.load_graphs(saved, sampling)
        self.error, self.task.found = None, []

    def load_graphs(self, saved: dict[str, Any], sampling: SamplingParams | None = None) -> None:
        """Give its row of the graphs what they remember of a saved stream."""
        batch, index, own = self.batch, self.index, saved["language_model"]
        batch.generator.load(index, own, self.task.hooks, sampling)
        self.task.seed = (sampling or SamplingParams.load(own["sampling"])).seed
        for name, codec in batch.codec.items():
            codec.load(index, saved[name])

    def check_open(self) -> None:
        """Raise UsageError if it takes no more input."""
        self._check_whole()
        if self.task.ended:
            raise UsageError("this stream has ended; reset it, or open another one")

    def _check_whole(self) -> None:
        """Raise UsageError if something went wrong in it."""
        if self.error is not None:
            raise UsageError(
                f"this stream has failed ({self.error}); reset it, or open another one"
            ) from self.error

    def _finish(self) -> None:
        if self.error is None:
            self.task.finish()


@final
class Batch(Generic[T]):
    """Rows that are stepped together, as many as the generator has; for one thread at a time.

    Rows in use lie at the front of the graphs, which are stepped over no more than them, and over
    the active ones alone if they can (`Streams`): one stream costs what it costs alone.

    What goes wrong in one row ends that row (`Row.error`) and no other. If a graph fails for
    several rows, each is stepped alone: a run that fails leaves all states as they are.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: BatchedEncoder | None = None,
        decoder: BatchedDecoder | None = None,
    ) -> None:
        self.rows, self.guided = generator.batch, generator.guided
        self.generator, self.encoder, self.decoder = generator, encoder, decoder
        self.exclusive = Exclusive()
        given = {"encoder": encoder, "decoder": decoder}
        self.codec = {name: part for name, part in given.items() if part is not None}
        self.graphs = {"language_model": generator, **self.codec}
        spec = generator.model.spec
        self._codebooks = spec.n_q - spec.dep_q
        self._rows: list[Row[T] | None] = []

    @property
    def _exclusive(self) -> Exclusive:
        return self.exclusive

    @property
    def free(self) -> int:
        """How many more may join."""
        return self.rows - len(self._joined())

    @exclusive
    def join(self, task: T) -> Row[T]:
        """Give a task a row and begins it.

        Raises UsageError if all rows are taken or the task is guided and the batch is not.
        """
        if not self.free:
            raise UsageError(f"all {self.rows} rows are taken: let one leave first")
        if None not in self._rows:
            self._rows.append(None)
            self._use()
        row, index = Row(self, task), self._rows.index(None)
        row.move_to(index)
        try:
            self.clear(index)
            task.begin()
        except BaseException:
            row.move_to(None)
            raise
        self._rows[index] = row
        return row

    @exclusive
    def leave(self, row: Row[T]) -> None:
        """Make room for another stream at once, whatever was left to step."""
        if not row.has_left and self._rows[row.index] is row:
            self._rows[row.index] = None
            row.move_to(None)

    @exclusive
    def step(self, held: Collection[Row[T] | None] = ()) -> bool:
        """Step every row that can be, but those held; False if none could."""
        self._compact()
        rows = [row for row in self._joined() if row.error is None and row not in held]
        self._each(rows, lambda task, _: task.prepare())
        self._encode(rows)
        ready = self._each(rows, lambda task, _: task.ready)
        stepped = [row for row in rows if ready.get(row.index)]
        whole = np.zeros((len(self._rows), self._codebooks), np.int64)
        codes = self._each(stepped, lambda task, _: task.next_codes())
        active = np.zeros(len(self._rows), np.bool_)
        for index, given in codes.items():
            whole[index], active[index] = given, True
        if not active.any():
            return any(row.error is not None for row in rows)
        output = self.generator.step(whole, active, self._fail)
        self._decode(self._each(stepped, lambda task, index: task.on_step(output, index)))
        self._each(stepped, lambda task, _: task.finish())
        return True

    def run(self, row: Row[T]) -> Iterator[Event]:
        """Step as far as possible; what this row finds, as it is found. Raises what goes wrong in
        it."""
        while self.step():
            yield from row.events()
        yield from row.events()

    def clear(self, index: int) -> None:
        """Make the codec forget what it read and made in a row."""
        for part in self.codec.values():
            part.reset(index)

    def _each(self, rows: Iterable[Row[T]], work: Callable[[T, int], V]) -> dict[int, V]:
        """What is made of the task of each row that is whole, by its index; if that fails, the row
        ends."""
        made = {}
        for row in rows:
            try:
                if row.error is None:
                    index = row.index
                    made[index] = work(row.task, index)
            except Exception as error:
                row.error = error
        return made

    def _fail(self, index: int, error: Exception) -> None:
        row = self._rows[index]
        assert row is not None
        row.error = error

    def _encode(self, rows: Iterable[Row[T]]) -> None:
        if self.encoder is not None:
            queues = self._each(rows, lambda task, _: task.queue)
            self.encoder.step(queues, self._fail)

    def _decode(self, made: dict[int, Array | None]) -> None:
        if self.decoder is None:
            return
        codes = {index: frame for index, frame in made.items() if frame is not None}
        pcm = self.decoder.step(codes, self._fail)
        rows = [row for row in self._joined() if row.index in pcm]
        self._each(rows, lambda task, index: task.on_audio(pcm[index]))

    def _joined(self) -> list[Row[T]]:
        return [row for row in self._rows if row is not None]

    def _compact(self) -> None:
        """Put the last rows in the places of those that have left."""
        before = len(self._rows)
        while None in self._rows:
            row = self._rows.pop()
            if row is not None:
                index = self._rows.index(None)
                for part in self.graphs.values():
                    part.move(row.index, index)
                self._rows[index] = row
                row.move_to(index)
        if self._rows and len(self._rows) != before:
            self._use()

    def _use(self) -> None:
        for part in self.graphs.values():
            part.use(len(self._rows))


def open_batch(model: Model, rows: int, *, guided: bool = False) -> Batch[Any]:
    """A batch over the graphs of a model; `guided` if a task may be, which doubles the cost of all.

    Raises UsageError for fewer rows than 1.
    """
    if rows < 1:
        raise UsageError(f"a batch of {rows} rows: give 1 or more")
    generator = Generator(model.language_model, rows, guided=guided)
    spec = model.language_model.spec
    encoder = (
        BatchedEncoder(model.mimi, rows, spec.n_q - spec.dep_q)
        if model.family.reads_audio
        else None
    )
    decoder = BatchedDecoder(model.mimi, rows) if model.family.writes_audio else None
    return Batch(generator, encoder, decoder)


@final
class Stream(Generic[T]):
    """One independent stream: a batch of one row, stepped as it is fed. For one thread at a time.

    `open_batch` makes a batch of so many rows, guided or not.
    """

    def __init__(self, open_batch: Callable[..., Batch[T]], task: T) -> None:
        self._open = open_batch
        self._batch = open_batch(1, guided=task.is_guided)
        self._row = self._batch.join(task)

    @property
    def _exclusive(self) -> Exclusive:
        return self._batch.exclusive

    @property
    def task(self) -> T:
        """What its family makes of it."""
        return self._row.task

    @property
    def model(self) -> Any:
        """The model that it is a stream of."""
        return self._row.task.model

    @exclusive
    def feed(self, chunk: Any, /) -> list[Event]:
        """Take samples float32 `[n]` at the model's rate, any n, or any piece of text; returns
        what became known by it.

        Raises UsageError once the stream has ended, and for samples that are no audio.
        """
        self._row.feed(chunk)
        return list(self._batch.run(self._row))

    @exclusive
    def flush(self) -> list[Event]:
        """The end of the input: all that is still to be found."""
        return self._row.flush()

    def add(self, chunk: Any, /) -> None:
        """Take what `events` is to step; raises as `feed` does."""
        self._row.feed(chunk)

    def end(self) -> None:
        """The input is over: `events` gives the rest."""
        self._row.end()

    def events(self) -> Iterator[Event]:
        """Step as far as the input allows: event by event, as they are found."""
        return self._batch.run(self._row)

    @exclusive
    def close(self) -> list[Event]:
        """End here, with nothing more made: the last word."""
        self._row.close()
        return self._row.events()

    def reset(self) -> None:
        """Start over, as a new stream would."""
        self._row.reset()

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return self._row.save()

    @exclusive
    def load(self, saved: dict[str, Any], *, seed: int | None = None) -> None:
        """Continue where a saved stream stood, sampling as it did, or from now on by another seed.

        Raises UsageError if it is of another model, ModelError if it is damaged or of a version
        that this program does not read; then this stream is as it was.
        """
        batch, row = self._batch, self._row
        saved = row.check(saved)
        if saved["language_model"]["guidance"] is not None and not batch.guided:
            batch = self._open(1, guided=True)
            row = batch.join(row.task.again())
        row.load(saved, seed=seed)
        self._batch, self._row = batch, row

    @exclusive
    def fork(self) -> "Stream[T]":
        """Another stream that goes on from here by itself."""
        task = self.task.again()
        task.trace = None
        other = Stream(self._open, task)
        other.load(self.save())
        return other
