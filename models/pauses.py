"""Pauses and ends of turns from the extra heads (semantic VAD).

Head 2 looks two seconds ahead, and its class 0 is the probability that nothing more is said by
then; above a half it counts as a pause, as in all of Kyutai's programs. A pause is told once. What
follows counts as new speech when a word starts after it, or when the head itself goes back for a
quarter of a second. A pause that stands for a second is the end of a turn.
"""

from typing import Any

from .events import EndOfTurn, Event, Pause

HEAD = 2
THRESHOLD = 0.5
BACK_SECONDS = 0.25
TURN_SECONDS = 1.0


class PauseDetector:
    """Takes one probability a frame; `lead` is the silence put before the audio, in seconds."""

    def __init__(self, frame_rate: float, lead: float) -> None:
        self._frame_rate, self._lead = frame_rate, lead
        self._frame = 0
        self._armed = False
        self._below = 0
        self._pause: float | None = None
        self._turn_told = False

    def skip(self, seconds: float) -> None:
        """Counts times from `seconds` later; pauses before that are not told."""
        self._lead += seconds

    def push(self, probability: float, word_start: float | None) -> list[Event]:
        """Events of one frame. `word_start` is the start of the word being heard, if any."""
        self._frame += 1
        time = self._frame / self._frame_rate - self._lead
        if time < 0:
            return []
        self._listen(probability, word_start)
        events: list[Event] = []
        if self._armed and probability > THRESHOLD:
            self._armed, self._pause, self._turn_told = False, time, False
            events.append(Pause(time, probability))
        elif self._pause is not None and time - self._pause >= TURN_SECONDS:
            events += self.flush()
        return events

    def flush(self) -> list[Event]:
        """The end of the audio ends a turn that had paused."""
        if self._pause is None or self._turn_told:
            return []
        self._turn_told = True
        return [EndOfTurn(self._pause)]

    def _listen(self, probability: float, word_start: float | None) -> None:
        self._below = self._below + 1 if probability <= THRESHOLD else 0
        heads_say_so = self._below >= BACK_SECONDS * self._frame_rate
        new_word = word_start is not None and word_start > (self._pause or -1.0)
        if heads_say_so or new_word:
            self._armed = True
            self._pause = None if probability <= THRESHOLD else self._pause

    def save(self) -> dict[str, Any]:
        return dict(vars(self))

    def load(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
