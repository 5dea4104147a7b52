"""One model and the thread that steps all of its sessions together."""

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ...models.batch import Row
from .admission import Admission
from .backlog import Backlog
from .commands import CommandQueue
from .events import Busy, Deliver
from .inputs import AudioIntake, Intake, TextIntake
from .limits import Limits
from .loop import Loop
from .model import Model
from .session import Session
from .statistics import Statistics
from .stream import Pace, Stream


class Engine:
    """Up to `slots` sessions of a model; each may join or leave at any frame, and whatever has a
    frame waiting is stepped with all others that have. Thread-safe but for `start` and `stop`.

    `guided` where a session may be guided, for models that do that at twice the cost of every row.
    `clock` tells seconds.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        slots: int,
        limits: Limits,
        statistics: Statistics,
        *,
        guided: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name, self.model, self.slots = name, model, slots
        self.family: str = model.family
        self.limits, self.statistics, self._clock = limits, statistics, clock
        self._commands = CommandQueue()
        self._admission = Admission(slots, limits.queue, self._commands)
        self.loop = Loop(
            name,
            partial(model.batch, slots, **({"guided": True} if guided else {})),
            self._admission,
            self._commands,
            limits,
            statistics,
            1 / model.frame_rate,
            clock,
        )
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)
        stt = model.bundle.manifest.stt
        lag = stt.audio_delay_seconds if stt is not None else 0.0
        self._pace = Pace(model.frame_size, math.ceil(lag * model.frame_rate))
        self._writes = stt is not None
        self._intake: Intake
        if self.family == "tts":
            self._intake, largest = TextIntake(limits.message_words), float(limits.message_words)
        else:
            self._intake = AudioIntake(model.sample_rate, limits.message_seconds)
            largest = limits.message_seconds
        self._soft = limits.backlog * self._intake.unit
        self._hard = self._soft + largest * self._intake.unit

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return self._admission.used

    @property
    def queued(self) -> int:
        """Sessions that wait for a slot."""
        return self._admission.queued

    @property
    def lag(self) -> float:
        """The largest backlog of those in slots, in seconds of audio or words."""
        waiting = (stream.backlog.amount for stream in self.loop.active.streams)
        return max(waiting, default=0) / self._intake.unit

    @property
    def stepping_for(self) -> float:
        """Seconds since the step began that is being computed; 0 between steps."""
        began = self.loop.step_began
        return 0.0 if began is None else self._clock() - began

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def open(
        self,
        begin: Callable[[Any], Row],
        deliver: Deliver,
        *,
        wait: float = 0.0,
        room: Callable[[], None] | None = None,
        backlog: float = math.inf,
    ) -> Session:
        """Returns at once. `begin` is called with the batch once there is a slot, and joins it;
        then `Ready()` is delivered, or, where none became free in `wait` seconds (`Limits.wait` at
        most), `Ended("busy")`. `room` is called on the engine's thread, and must not block, when
        the backlog is no longer above `backlog` or the limit of that name.

        Raises Busy where all slots are taken and it may not wait, or as many wait as may.
        """
        opened, wait = self._clock(), min(wait, self.limits.wait)
        soft = min(backlog * self._intake.unit, self._soft)
        waiting = Backlog(soft, self._hard)
        stream = Stream(begin, deliver, room, self._pace, waiting, opened, wait)
        try:
            self._admission.enter(stream, wait=wait > 0)
        except Busy:
            self.statistics.refused += 1
            raise
        self.statistics.opened += 1
        return Session(
            stream,
            self._intake,
            self._commands,
            self._admission,
            self.statistics,
            writes=self._writes,
        )

    def start(self) -> None:
        """Begins to work; sessions may be opened before."""
        self._thread.start()

    def stop(self, drain: float) -> None:
        """Takes no more sessions, works off what was brought for up to `drain` seconds, tells those
        that are left, and returns when the thread has ended."""
        self.loop.stop(drain)
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
                    self._commands.wait(idle)
