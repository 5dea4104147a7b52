"""The text-to-speech machine: it turns entries into the tokens that the model reads, at the pace
that the model asks for.

At each step the model says `new word` or `pad`; the machine feeds the tokens of the next word, or
paddings, and, for a model with a second text stream, tokens of the word `ahead` places further on.
The rules are those of `StateMachine.process` in moshi models/tts.py, without its growing lists.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..events import Word, to_millisecond
from ..stream_state import Flag, Integer, List, Nullable, Record, String
from .script_parser import Entry


@dataclass(frozen=True)
class StateMachineConfig:
    """Token ids and limits of a machine.

    `ahead` is how many words the second text stream looks ahead, 0 without one; `multiplier` is
    what a token of that stream is multiplied by. `max_padding` is the most paddings in a row that
    the model may choose, `initial_padding` how many come first of all.
    """

    pad: int
    new_word: int
    multiplier: int
    ahead: int = 0
    max_padding: int = 8
    initial_padding: int = 2


class TextToSpeechStateMachine:
    """The words yet to be said, and what is being fed. One step after the other."""

    def __init__(self, pacing: StateMachineConfig) -> None:
        self.pacing = pacing
        self.complete = False
        """Set once no more entries will come."""
        self.given = False
        """Whether there was ever an entry."""
        self.end_step: int | None = None
        """The step at which the model asked for a word and there was none."""
        self._entries: deque[Entry] = deque()
        self._queued: deque[int] = deque()
        self._ahead_queued: deque[int] = deque()
        self._remaining = self._forced = pacing.initial_padding

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries to those that wait."""
        self._entries.extend(entries)
        self.given |= bool(self._entries)

    @property
    def waiting(self) -> int:
        """How many entries wait."""
        return len(self._entries)

    @property
    def ready(self) -> bool:
        """Whether a step is possible: no text that may still come could change it.

        Beyond the rule of moshi-server tts.py `ClientState.is_active`, a step at which no word can
        begin may always be made.
        """
        if self.complete or self._queued or self._forced > 0:
            return True
        if not self._entries:
            return False
        if not self.pacing.ahead or not self._entries[0].tokens:
            return True
        return self._tokens_ahead(self.pacing.ahead + 1) is not None

    def process(self, step: int, token: int) -> tuple[int, Entry | None]:
        """Take the token that the model made at a step; return the token that it reads next, and
        the entry that starts, if any."""
        chosen, entry = self._begin_entry(step, self._allowed(token))
        output = chosen if chosen == self.pacing.new_word else self._feed_padding()
        return (self._multiplexed(output) if self.pacing.ahead else output), entry

    def _allowed(self, token: int) -> int:
        if self._queued or self._forced > 0:
            return self.pacing.pad
        if self._remaining <= 0 or token == self.pacing.new_word:
            return self.pacing.new_word
        return self.pacing.pad

    def _begin_entry(self, step: int, token: int) -> tuple[int, Entry | None]:
        if token != self.pacing.new_word:
            return token, None
        if not self._entries:
            return self._end(step), None
        entry = self._entries.popleft()
        self._forced = entry.padding
        if not entry.tokens:
            return self.pacing.pad, entry
        self._queued.extend(entry.tokens)
        if self.pacing.ahead:
            self._ahead_queued.extend(self._tokens_ahead(self.pacing.ahead) or ())
        self._remaining = self.pacing.max_padding
        return token, entry

    def _end(self, step: int) -> int:
        """Handle a step past the last entry; the first one is marked in a second text stream."""
        first = self.end_step is None
        if first:
            self.end_step = step
        return self.pacing.new_word if first and self.pacing.ahead else self.pacing.pad

    def _feed_padding(self) -> int:
        self._remaining = max(0, self._remaining - 1)
        self._forced = max(0, self._forced - 1)
        return self._queued.popleft() if self._queued else self.pacing.pad

    def _multiplexed(self, output: int) -> int:
        """Both streams in one token: `new word` goes to the second, so that the word's own tokens
        begin at once."""
        second = -1
        if output == self.pacing.new_word:
            second = self.pacing.new_word
            output = self._queued.popleft() if self._queued else self.pacing.pad
        elif self._ahead_queued:
            second = self._ahead_queued.popleft()
        return (second + 1) * self.pacing.multiplier + output

    def _tokens_ahead(self, count: int) -> tuple[int, ...] | None:
        """The tokens of the `count`-th waiting word."""
        for entry in self._entries:
            count -= bool(entry.tokens)
            if not count:
                return entry.tokens
        return None

    @staticmethod
    def fields(text_card: int) -> Record:
        """What is saved, of a vocabulary of so many tokens."""
        tokens = List(Integer(0, text_card - 1))
        return Record(
            {
                "complete": Flag(),
                "given": Flag(),
                "end_step": Nullable(Integer()),
                "entries": List(Record({"tokens": tokens, "text": String(), "padding": Integer()})),
                "queued": tokens,
                "ahead_queued": tokens,
                "remaining_padding": Integer(),
                "forced_padding": Integer(),
            }
        )

    def save(self) -> dict[str, Any]:
        """Return its state, as `fields` describes it."""
        return {
            "complete": self.complete,
            "given": self.given,
            "end_step": self.end_step,
            "entries": [
                {"tokens": list(e.tokens), "text": e.text, "padding": e.padding}
                for e in self._entries
            ],
            "queued": list(self._queued),
            "ahead_queued": list(self._ahead_queued),
            "remaining_padding": self._remaining,
            "forced_padding": self._forced,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self.complete, self.given = saved["complete"], saved["given"]
        self.end_step = saved["end_step"]
        self._entries = deque(
            Entry(tuple(e["tokens"]), e["text"], e["padding"]) for e in saved["entries"]
        )
        self._queued = deque(saved["queued"])
        self._ahead_queued = deque(saved["ahead_queued"])
        self._remaining, self._forced = saved["remaining_padding"], saved["forced_padding"]


class WordTimer:
    """Times the words: each is returned when the next one, a pause or the end closes it.

    A word that starts at step `s` starts at `s / frame_rate` seconds of the audio, less the
    `prefix` frames that are cut from it (moshi run_tts.py).
    """

    def __init__(self, frame_rate: float, prefix: int) -> None:
        self._frame_rate, self._prefix = frame_rate, prefix
        self._text = ""
        self.start = 0
        """The step at which the last word began."""

    def begin(self, text: str, step: int) -> list[Word]:
        """The word that ends because another, or without `text` a pause, begins at `step`."""
        words = self.end(step)
        self._text, self.start = text, step
        return words

    def end(self, step: int) -> list[Word]:
        """The word that is open, ended at `step`."""
        if not self._text:
            return []
        word = Word(self._text, self._seconds(self.start), self._seconds(step))
        self._text = ""
        return [word]

    FIELDS: ClassVar = Record({"text": String(), "start_step": Integer()})

    def save(self) -> dict[str, Any]:
        """Return its state, as `FIELDS` describes it."""
        return {"text": self._text, "start_step": self.start}

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._text, self.start = saved["text"], saved["start_step"]

    def _seconds(self, step: int) -> float:
        return to_millisecond(max(0.0, (step - self._prefix) / self._frame_rate))
