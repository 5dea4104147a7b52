"""Speech, pauses and ends of turns from the extra heads (semantic VAD).

A head looks some seconds ahead; its class 0 is the probability that nothing more is said by then.
By default the head of two seconds counts, above a half, as in all of Kyutai's programs. A pause is
reported once. Speech has started again when a word starts after it, or when the head itself goes
back for a quarter of a second. A pause that stands for a second is the end of a turn.
"""

from typing import Any, ClassVar

from ..events import EndOfTurn, Event, Pause, SpeechStarted
from ..options import TurnPolicy
from ..stream_state import Flag, Integer, Nullable, Number, Record

BACK_SECONDS = 0.25


class PauseDetector:
    """Takes one probability a frame; `lead` is the silence put before the audio, in seconds. What
    lies before `first` seconds of the audio is not reported."""

    def __init__(
        self,
        frame_rate: float,
        lead: float,
        policy: TurnPolicy | None = None,
        first: float = 0.0,
    ) -> None:
        self._frame_rate, self._policy = frame_rate, policy or TurnPolicy()
        self._lead, self._first = lead, first
        self._frame = 0
        self._armed = False
        self._below = 0
        self._pause: float | None = None
        self._turn_told = False
        self._words = 0
        self._last_word: float | None = None

    def skip(self, seconds: float) -> None:
        """Count times from `seconds` later; pauses before that are not reported."""
        self._lead += seconds

    def push(self, probability: float, word_start: float | None) -> list[Event]:
        """Events of one frame. `word_start` is the start of the open word, if any."""
        self._frame += 1
        time = self._frame / self._frame_rate - self._lead
        if time < self._first:
            return []
        events: list[Event] = self._listen(time, probability, word_start)
        if self._armed and probability > self._policy.threshold:
            self._armed, self._pause, self._turn_told = False, time, False
            events.append(Pause(time, probability))
        elif self._pause is not None and time - self._pause >= self._policy.hold:
            events += self.flush()
        return events

    def flush(self) -> list[Event]:
        """The end of the audio ends a turn that had paused, if it has enough words."""
        if self._pause is None or self._turn_told or self._words < self._policy.min_words:
            return []
        self._turn_told = True
        self._words = 0
        return [EndOfTurn(self._pause)]

    def _listen(self, time: float, probability: float, word_start: float | None) -> list[Event]:
        if word_start is not None and word_start != self._last_word:
            self._last_word = word_start
            self._words += 1
        is_speech = probability <= self._policy.threshold - self._policy.hysteresis
        self._below = self._below + 1 if is_speech else 0
        heads_say_so = self._below >= BACK_SECONDS * self._frame_rate
        new_word = word_start is not None and word_start > (self._pause or -1.0)
        if not (heads_say_so or new_word):
            return []
        started = [] if self._armed else [SpeechStarted(self._began(time, word_start, new_word))]
        self._armed = True
        self._pause = None if probability <= self._policy.threshold else self._pause
        return [*started]

    def _began(self, time: float, word_start: float | None, new_word: bool) -> float:
        """When speech began that is noticed now: not before the pause that it ends."""
        began = word_start if new_word and word_start is not None else time - BACK_SECONDS
        return max(began, self._first, self._pause or 0.0)

    FIELDS: ClassVar = Record(
        {
            "lead": Number(),
            "first": Number(),
            "frame": Integer(),
            "armed": Flag(),
            "speech_frames": Integer(),
            "pause": Nullable(Number()),
            "turn_ended": Flag(),
            "turn_words": Integer(),
            "last_word": Nullable(Number()),
        }
    )

    def save(self) -> dict[str, Any]:
        """Return its state, as `FIELDS` describes it; the policy is not part of it."""
        return {
            "lead": self._lead,
            "first": self._first,
            "frame": self._frame,
            "armed": self._armed,
            "speech_frames": self._below,
            "pause": self._pause,
            "turn_ended": self._turn_told,
            "turn_words": self._words,
            "last_word": self._last_word,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._lead, self._first, self._frame = saved["lead"], saved["first"], saved["frame"]
        self._armed, self._below = saved["armed"], saved["speech_frames"]
        self._pause, self._turn_told = saved["pause"], saved["turn_ended"]
        self._words, self._last_word = saved["turn_words"], saved["last_word"]
