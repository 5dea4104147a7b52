"""An engine: one model and the thread that steps all of its sessions together."""

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...models.families import Family
from ...runtime.bundle.bundle import Bundle
from ..limits import Limits
from ..wire import NO_ROOM
from .admission import Admission
from .commands import CommandQueue
from .engine_session import AudioIntake, Backlog, EngineSession, Intake, MakeRow, Pace, TextIntake
from .events import Busy, Deliver
from .loop import Loop
from .statistics import Statistics


class BatchedModel(Protocol):
    """What an engine needs of a model of any family; `batch` returns a `models.batch.Batch`."""

    @property
    def family(self) -> Family: ...
    @property
    def bundle(self) -> Bundle: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def frame_size(self) -> int: ...
    @property
    def batch(self) -> Callable[..., Any]: ...


class Engine:
    """Run up to `slots` sessions of a model; open one by `Session(engine, …)`.

    Sessions join and leave at any frame, and all that have a frame waiting are stepped together.
    Thread-safe but for `start` and `stop`. `guided` lets sessions choose their guidance, for models
    whose steps then cost twice as much. `clock` returns seconds.
    """

    def __init__(
        self,
        name: str,
        model: BatchedModel,
        slots: int,
        limits: Limits,
        statistics: Statistics,
        *,
        guided: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        limits.check()
        self.name, self.model, self.slots = name, model, slots
        self.limits, self.statistics, self._clock = limits, statistics, clock
        self.commands = CommandQueue()
        self.admission = Admission(slots, limits.queue, self.commands)
        self.loop = Loop(
            name,
            partial(model.batch, slots, **({"guided": True} if guided else {})),
            self.admission,
            self.commands,
            limits,
            statistics,
            1 / model.frame_rate,
            clock,
        )
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)
        stt = model.bundle.manifest.stt
        lag = stt.audio_delay_seconds if stt is not None else 0.0
        self._pace = Pace(model.frame_size, math.ceil(lag * model.frame_rate))
        self.transcribes = stt is not None
        self.intake: Intake
        if model.family.reads_text:
            self.intake, largest = TextIntake(limits.message_words), float(limits.message_words)
        else:
            self.intake = AudioIntake(model.sample_rate, limits.message_seconds)
            largest = limits.message_seconds
        self._soft = limits.backlog * self.intake.unit
        self._hard = self._soft + largest * self.intake.unit

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return self.admission.used

    @property
    def free(self) -> int:
        """Slots that are not taken."""
        return self.slots - self.used

    def check_room(self) -> None:
        """Raise Busy, and count a refused session, if no slot is free."""
        if not self.free:
            self.statistics.refused += 1
            raise Busy(NO_ROOM)

    @property
    def queued(self) -> int:
        """Sessions that wait for a slot."""
        return self.admission.queued

    @property
    def lag(self) -> float:
        """The largest backlog of the active sessions, in seconds of audio or in words."""
        waiting = (session.backlog.amount for session in self.loop.active.sessions)
        return max(waiting, default=0) / self.intake.unit

    @property
    def stepping_for(self) -> float:
        """Seconds for which the current step has run; 0 between steps."""
        began = self.loop.step_began
        return 0.0 if began is None else self._clock() - began

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def admit(
        self,
        make_row: MakeRow,
        deliver: Deliver,
        room: Callable[[], None] | None,
        *,
        wait: float,
        backlog: float,
    ) -> EngineSession:
        """Give a new session a slot or a place in the queue: see `Session`. Raises Busy."""
        wait = min(wait, self.limits.wait)
        soft = min(backlog * self.intake.unit, self._soft)
        session = EngineSession(
            make_row, deliver, room, self._pace, Backlog(soft, self._hard), self._clock(), wait
        )
        try:
            self.admission.enter(session, wait=wait > 0)
        except Busy:
            self.statistics.refused += 1
            raise
        self.statistics.opened += 1
        return session

    def start(self) -> None:
        """Start the thread; sessions may be opened before."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Refuse new sessions, work off what was fed for up to `seconds`, end the sessions
        that are left, and return when the thread has ended."""
        self.loop.stop(seconds)
        if self._thread.ident is None:
            self._run()
        else:
            self._thread.join()

    def _run(self) -> None:
        while not self.loop.finished:
            try:
                idle = self.loop.turn()
            except Exception as error:
                self.loop.active.fail(error)
            else:
                if idle != 0:
                    self.commands.wait(idle)
