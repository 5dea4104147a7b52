"""One stream of speech to text."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .drawing import Drawing
from .events import Event, Restart, Word
from .generation import Generator
from .hearing import Frame, Heard, Hearing
from .pauses import TurnPolicy
from .saved import check_saved, stamp
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .speech_to_text import SpeechToText

Array = np.ndarray[Any, Any]


class SpeechToTextStream:
    """Audio in, words and pauses out. Belongs to one thread at a time."""

    def __init__(
        self,
        model: "SpeechToText",
        drawing: Drawing,
        prompt: tuple[int, ...] = (),
        heard: Heard | None = None,
        policy: TurnPolicy | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.model, self._drawing, self._watchdog = model, drawing, watchdog
        self._hearing = Hearing(model, prompt, heard, policy)
        self._generator = Generator(model.language_model)
        self._begin()

    def reset(self) -> None:
        """Starts over, as a new stream would."""
        self._hearing.reset()
        self._begin()

    def prime(self, audio: Array, *, cut: bool) -> list[Event]:
        """Hears an audio prompt, float32 `[n]`, before all else; returns the events so far.

        With `cut` its words are left out and times count from the audio that follows.
        """
        return self._step(self._hearing.prime(audio, cut=cut))

    def feed(self, pcm: Array) -> list[Event]:
        """Takes float32 `[n]` at the model's rate, any n; returns what became known by it."""
        if self._watchdog is None:
            return self._step(self._hearing.push(pcm))
        size = self.model.frame_size
        pieces = (pcm[start : start + size] for start in range(0, len(pcm), size))
        return [event for piece in pieces for event in self._watch(piece, self._watchdog)]

    def catch_up(self) -> list[Event]:
        """Tells at once what text lags behind with, and the word that is open: silence is fed as
        quickly as it can be computed, and taken off the clock again. For the end of a turn."""
        return [*self._step(self._hearing.lull()), *self._hearing.after_lull()]

    def restart(self) -> list[Event]:
        """Makes the model begin anew where the audio stands, with nothing remembered; times go on.

        For a model that has stalled; returns the last word and `Restart`.
        """
        events = [*self._hearing.finish(), Restart(self._hearing.seconds)]
        frames = self._hearing.restart()
        self._begin()
        return events + self._step(frames)

    def flush(self) -> list[Event]:
        """The end of the audio: what the model still has to say, and the last word."""
        return [*self._step(self._hearing.end()), *self._hearing.finish()]

    @property
    def partial(self) -> str:
        """The text of the word that is being heard and not yet closed."""
        return self._hearing.partial

    @property
    def told_until(self) -> float:
        """Seconds of the audio up to which words were told or begun: text lags behind pauses."""
        return self._hearing.told_until

    def save(self) -> dict[str, Any]:
        """All that the stream remembers, to be loaded by another stream of the same weights."""
        return {
            **stamp(self.model.bundle, "speech-to-text"),
            **self._hearing.save(),
            "generator": self._generator.save(0),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where a saved stream stood; raises UsageError if it is of another model."""
        check_saved(saved, self.model.bundle, "speech-to-text")
        self._hearing.load(saved)
        self._generator.load(0, saved["generator"], self._hearing.prompt)

    def _watch(self, pcm: Array, watchdog: Watchdog) -> list[Event]:
        before = self.partial
        events = self._step(self._hearing.push(pcm))
        wrote = self.partial != before or any(isinstance(event, Word) for event in events)
        return events + (self.restart() if watchdog.stalled(pcm, wrote=wrote) else [])

    def _begin(self) -> None:
        self._generator.begin(0, self._drawing, self._hearing.prompt)

    def _step(self, frames: list[Frame]) -> list[Event]:
        events = []
        for frame in frames:
            self._hearing.prompt.heard = frame.heard
            made = self._generator.step(frame.codes[None])
            events += self._hearing.take(frame, made, 0)
        return events
