"""A script as the entries that the text-to-speech machine consumes, word by word as it comes.

The rules are those of `script_to_entries` in moshi models/tts.py: words are what whitespace parts,
a few characters are replaced, `<break time="0.5s"/>` is a pause, and the first word of a turn says
names the speaker if that changed. Text may come in pieces of any size: the entries are the same.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Protocol

from ...runtime.errors import UsageError
from ..stream_state import Flag, Integer, Nullable, Record, String

SPEAKERS = (1, 2)
"""Tokens that begin a turn: of the main speaker, of the other."""
LONGEST_BREAK = 24 * 3600.0
UNSPELLED_KEPT = 8

_REPLACED = str.maketrans({"’": "'", ":": " ", "(": None, ")": None})
_TAG = (*"<break", r"\s+", *'time="', "[0-9]+", r"(?:[.,][0-9]*)?", *'s"', r"\s*", "/?", ">")
_EVENT = re.compile(
    r"<break\s+time=\"(?P<seconds>[0-9]+(?:[.,][0-9]*)?)s\"\s*/?>|\s+",
)
_BEGUN_TAG = re.compile(
    reduce(lambda rest, part: f"{part}(?:{rest})?", reversed(_TAG[:-1])) + r"\Z"
)


class Speller(Protocol):
    """What is used of `sentencepiece.SentencePieceProcessor`."""

    def encode(self, text: str) -> list[int]: ...
    def unk_id(self) -> int: ...


@dataclass(frozen=True)
class Entry:
    """A word to say, or without `tokens` a pause; `padding` is for how many steps at least no
    other word may begin."""

    tokens: tuple[int, ...]
    text: str = ""
    padding: int = 0


class ScriptParser:
    """Parses text to entries. With `speakers` the model knows two of them; `padding_between` is the
    least number of steps after a word, beyond those of its own tokens."""

    def __init__(
        self, tokenizer: Speller, frame_rate: float, *, speakers: bool, padding_between: int
    ) -> None:
        self.unspelled: list[str] = []
        """The first words that the tokenizer could spell in part only."""
        self._tokenizer, self._frame_rate = tokenizer, frame_rate
        self._speakers, self._padding_between = speakers, padding_between
        self._held = ""
        self._turn = 0
        self._begins = True
        self._last_speaker: int | None = None

    def feed(self, text: str) -> list[Entry]:
        """Return the entries that `text` completes; whitespace completes a word.

        Raises UsageError for a break of more than a day.
        """
        spelled = text.encode("utf-8", "replace").decode()  # halves of characters become "?"
        self._held += spelled.translate(_REPLACED)
        begun = _BEGUN_TAG.search(self._held)
        return list(self._take(begun.start() if begun else len(self._held)))

    def flush(self) -> list[Entry]:
        """Return the rest, as if whitespace followed."""
        entries = list(self._take(len(self._held)))
        word, self._held = self._held, ""
        return [*entries, self._word(word)] if word else entries

    def next_turn(self) -> list[Entry]:
        """End a turn, after which the other speaker continues; return the rest of it."""
        entries = self.flush()
        self._turn += 1
        self._begins = True
        return entries

    FIELDS: ClassVar = Record(
        {
            "text": String(),
            "turn": Integer(),
            "turn_begins": Flag(),
            "last_speaker": Nullable(Integer(min(SPEAKERS), max(SPEAKERS))),
        }
    )

    def save(self) -> dict[str, Any]:
        """Return its state, as `FIELDS` describes it."""
        return {
            "text": self._held,
            "turn": self._turn,
            "turn_begins": self._begins,
            "last_speaker": self._last_speaker,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._held, self._turn = saved["text"], saved["turn"]
        self._begins, self._last_speaker = saved["turn_begins"], saved["last_speaker"]

    def _take(self, end: int) -> Iterator[Entry]:
        """Entries up to the last event before `end`; what follows stays held."""
        start = 0
        for event in _EVENT.finditer(self._held, 0, end):
            if event.start() > start:
                yield self._word(self._held[start : event.start()])
            if event["seconds"]:
                yield self._break(event["seconds"])
            start = event.end()
        self._held = self._held[start:]

    def _word(self, word: str) -> Entry:
        tokens = list(self._tokenizer.encode(word))
        if self._tokenizer.unk_id() in tokens and len(self.unspelled) < UNSPELLED_KEPT:
            self.unspelled.append(word)
        if self._begins:
            self._begins = False
            tokens = [*self._new_speaker(), *tokens]
        between = self._padding_between
        padding = max(0, between + len(tokens) - 1) if between > 0 else 0
        return Entry(tuple(tokens), word, padding)

    def _new_speaker(self) -> list[int]:
        speaker = SPEAKERS[self._turn % len(SPEAKERS)]
        if not self._speakers or speaker == self._last_speaker:
            return []
        self._last_speaker = speaker
        return [speaker]

    def _break(self, seconds: str) -> Entry:
        duration = float(seconds.replace(",", "."))
        if not math.isfinite(duration) or duration > LONGEST_BREAK:
            raise UsageError(f"a break of {seconds[:20]} s is too long: at most a day, 86400 s")
        return Entry((), "", round(duration * self._frame_rate))
