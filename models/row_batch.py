"""What the batches of all families share: rows in their places, and one step for all of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ..runtime.errors import UsageError
from ..runtime.exclusive import Exclusive, exclusive
from ..runtime.typing import Array
from .events import Event
from .lm.generation import Generator, StepOutput
from .mimi.batched import BatchedDecoder, BatchedEncoder
from .mimi.frame_queue import FrameQueue
from .model import Model


class StreamRow(ABC):
    """One stream of a batch: what it was given waits here until the batch is stepped, what it
    found until it is taken."""

    def __init__(self, batch: "RowBatch[Any]") -> None:
        self.batch = batch
        self.place: int | None = None
        """Where it lies among the rows of the graphs; None where it has none, having left."""
        self.ended = False
        self.error: Exception | None = None
        """What went wrong in it, if anything did: then it is not stepped before it is reset."""
        self._events: list[Event] = []
        self._closed = False

    @property
    def _exclusive(self) -> Exclusive:
        return self.batch.exclusive

    @property
    def ear(self) -> FrameQueue:
        """What it hears, of a family that hears."""
        raise NotImplementedError

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Frames, or words, that could be stepped now; 0 where there is nothing to do."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether it was ended and all is said."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it has all that its next step takes."""

    @abstractmethod
    def begin(self) -> None:
        """Starts in its place, in which nothing is remembered."""

    @abstractmethod
    def next(self) -> Array:
        """The codes `[n_q - dep_q]` of the next step."""

    @abstractmethod
    def made(self, made: StepOutput) -> Array | None:
        """Takes what the step made; returns codes `[dep_q]` that are to be heard, if any."""

    @abstractmethod
    def last(self) -> list[Event]:
        """What is found when nothing more comes."""

    @abstractmethod
    def forget(self) -> None:
        """Back to the beginning, with nothing heard and nothing said."""

    def prepare(self) -> None:  # noqa: B027
        """Before each step: what goes on by itself."""

    def spoke(self, pcm: Array) -> None:  # noqa: B027
        """Takes the samples float32 `[n]` of the codes that `made` returned."""

    @exclusive
    def events(self) -> list[Event]:
        """What was found since the last time; raises what went wrong in the stream."""
        if self.error is not None:
            raise self.error
        events, self._events = self._events, []
        return events

    @exclusive
    def reset(self) -> None:
        """A new stream in the same row, as the same `join` would give.

        Raises UsageError for a row that has left.
        """
        place = self.held_place
        self._events, self.ended, self._closed, self.error = [], False, False, None
        self.forget()
        self.batch.clear(place)
        self.begin()
        self.close()

    def close(self) -> None:
        """Finds what is last, once the stream is done."""
        if self.error is None and self.done and not self._closed:
            self._closed = True
            self._events += self.last()

    @property
    def held_place(self) -> int:
        """Its place; raises UsageError where it has left."""
        if self.place is None:
            raise UsageError("this row has left its batch: join again")
        return self.place

    def fail(self, error: Exception) -> None:
        """Ends here, by what went wrong."""
        self.error = error

    def check_whole(self) -> None:
        """Raises UsageError where something went wrong in it."""
        if self.error is not None:
            raise UsageError(
                f"this stream has failed ({self.error}); reset it, or open another one"
            ) from self.error

    def _check_open(self) -> None:
        self.check_whole()
        if self.ended:
            raise UsageError("this stream has ended; reset it, or open another one")


R = TypeVar("R", bound=StreamRow)
T = TypeVar("T")


class RowBatch(Generic[R]):
    """`rows` streams at most, stepped together; belongs to one thread at a time.

    Those that are there lie at the front of the graphs' rows, and the graphs are stepped over no
    more, where they can over the active ones alone (`Streams`): a stream by itself costs what it
    costs alone. `guided` where a row may be guided, for
    which every row costs twice as much.

    What goes wrong in one row ends that row (`StreamRow.error`) and no other. Where a graph fails
    for several rows, each is stepped alone: a run that fails leaves all states as they are.
    """

    hears: ClassVar[bool] = True
    speaks: ClassVar[bool] = True

    def __init__(self, model: Model, rows: int, *, guided: bool = False) -> None:
        if rows < 1:
            raise UsageError(f"a batch of {rows} rows: give 1 or more")
        self.rows, self.guided = rows, guided
        self.exclusive = Exclusive()
        self.generator = Generator(model.language_model, rows, guided=guided)
        spec = model.language_model.spec
        self._codebooks = spec.n_q - spec.dep_q
        self.encoder = BatchedEncoder(model.mimi, rows, self._codebooks) if self.hears else None
        self.decoder = BatchedDecoder(model.mimi, rows) if self.speaks else None
        codec = [part for part in (self.encoder, self.decoder) if part is not None]
        self._codec, self._graphs = codec, [self.generator, *codec]
        self._rows: list[R | None] = []

    @property
    def _exclusive(self) -> Exclusive:
        return self.exclusive

    @property
    def free(self) -> int:
        """How many more may join."""
        return self.rows - len(self._here())

    @exclusive
    def add(self, row: R) -> R:
        """Gives a row a place and begins it; raises UsageError where all are taken, and what
        beginning it raises."""
        if not self.free:
            raise UsageError(f"all {self.rows} rows are taken: let one leave first")
        if None not in self._rows:
            self._rows.append(None)
            self._use()
        row.place = self._rows.index(None)
        try:
            self.clear(row.place)
            row.begin()
        except BaseException:
            row.place = None
            raise
        self._rows[row.place] = row
        return row

    @exclusive
    def leave(self, row: R) -> None:
        """Makes room for another stream at once, whatever was left to say."""
        if row.place is not None and self._rows[row.place] is row:
            self._rows[row.place], row.place = None, None

    @exclusive
    def step(self, held: Collection[R] = ()) -> bool:
        """Steps every row that can be, but those held; False where none could."""
        self._close_ranks()
        rows = [row for row in self._here() if row.error is None and row not in held]
        self._each(rows, lambda row: row.prepare())
        self._encode(rows)
        ready = self._each(rows, lambda row: row.ready)
        stepped = [row for row in rows if ready.get(row.held_place)]
        whole = np.zeros((len(self._rows), self._codebooks), np.int64)
        codes = self._each(stepped, lambda row: row.next())
        active = np.zeros(len(self._rows), np.bool_)
        for place, given in codes.items():
            whole[place], active[place] = given, True
        if not active.any():
            return any(row.error is not None for row in rows)
        made = self.generator.step(whole, active, self._fail)
        self._speak(self._each(stepped, lambda row: row.made(made)))
        self._each(stepped, lambda row: row.close())
        return True

    def run(self, row: R) -> Iterator[Event]:
        """Steps as far as can be; what this row finds, as it is found. Raises what goes wrong in
        it."""
        while self.step():
            yield from row.events()
        yield from row.events()

    def clear(self, place: int) -> None:
        """Makes the codec forget what it heard and said in a place."""
        for part in self._codec:
            part.reset(place)

    def _each(self, rows: Iterable[R], work: Callable[[R], T]) -> dict[int, T]:
        """What is made of each row that is whole, by its place; where that fails, the row ends."""
        made = {}
        for row in rows:
            try:
                if row.error is None:
                    made[row.held_place] = work(row)
            except Exception as error:
                row.fail(error)
        return made

    def _fail(self, place: int, error: Exception) -> None:
        row = self._rows[place]
        assert row is not None
        row.fail(error)

    def _encode(self, rows: Iterable[R]) -> None:
        if self.encoder is not None:
            ears = self._each(rows, lambda row: row.ear)
            self.encoder.step(ears, self._fail)

    def _speak(self, made: dict[int, Array | None]) -> None:
        if self.decoder is None:
            return
        spoken = {place: codes for place, codes in made.items() if codes is not None}
        heard = self.decoder.step(spoken, self._fail)
        rows = [row for row in self._here() if row.place in heard]
        self._each(rows, lambda row: row.spoke(heard[row.held_place]))

    def _here(self) -> list[R]:
        return [row for row in self._rows if row is not None]

    def _close_ranks(self) -> None:
        """Puts the last rows in the places of those that have left."""
        before = len(self._rows)
        while None in self._rows:
            row = self._rows.pop()
            if row is not None:
                place = self._rows.index(None)
                for graphs in self._graphs:
                    graphs.move(row.held_place, place)
                self._rows[place], row.place = row, place
        if self._rows and len(self._rows) != before:
            self._use()

    def _use(self) -> None:
        for graphs in self._graphs:
            graphs.use(len(self._rows))
