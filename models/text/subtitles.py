"""Subtitles from words: cues that can be read while they are shown, in SubRip (srt) and WebVTT.

A pause, which the model reports or a long rest shows, or the end of a sentence ends a cue. A
sentence that is too long for one cue is cut into parts of about the same length, after a comma or
at a short rest if possible, and leaves no word alone. Sentences that would be shown for less than a
second share a cue.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..events import Pause, Word

LONGEST_SECONDS = 6.0
SHORTEST_SECONDS = 1.0
PAUSE_SECONDS = 0.7
REST_SECONDS = 0.3
"""A rest within a sentence at which a cue had better end."""

_SENTENCE = re.compile(r"[.?!…。？！][\"'»”’)\]]*$")
_ABBREVIATION = re.compile(r"\W*(\w|mr|mrs|ms|dr|st|prof|mme|mlle|vs)\.$", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:—–][\"'»”’)\]]*$")
_SETTLED = 3
"""Full cues of open text after which the first of them is settled."""


@dataclass(frozen=True)
class CueLayout:
    """How large a cue may be: characters of a line, lines, and words.

    With `highlight` a cue is shown once for each of its words, with that word underlined.
    """

    line_width: int = 42
    lines: int = 2
    words: int | None = None
    highlight: bool = False


DEFAULT_LAYOUT = CueLayout()


@dataclass(frozen=True)
class Cue:
    """A subtitle, from `start` to `end` in seconds; `lit` is the index of an underlined word."""

    lines: tuple[tuple[Word, ...], ...]
    start: float
    end: float
    lit: int | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for line in self.lines for word in line)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def of_each_word(self) -> "Iterator[Cue]":
        """Yield the cue for each of its words, with that word underlined."""
        words = self.words
        starts = [self.start, *(word.start for word in words[1:])]
        for index, (start, end) in enumerate(zip(starts, [*starts[1:], self.end], strict=True)):
            yield replace(self, start=start, end=_after(start, end), lit=index)


def spoken_end(word: Word) -> float:
    """Estimate when a word ends in seconds: a model closes it when the next one begins, be that
    after a pause."""
    return min(word.end, word.start + 0.5 + 0.1 * len(word.text))


def rest_between(word: Word, following: Word) -> float:
    """Estimate the seconds of rest between two words."""
    return following.start - spoken_end(word)


class CueMaker:
    """Groups words into cues as they come, so that the sum of what their cuts cost is least.

    `_best[n]` is the least cost of cues of the first n open words, `_begins[n]` where the last of
    these cues begins.
    """

    def __init__(self, layout: CueLayout = DEFAULT_LAYOUT) -> None:
        self._layout = layout
        self._most = layout.line_width * layout.lines
        self._pauses: list[float] = []
        """The seconds of pauses that no word has followed yet."""
        self._clear()

    def _clear(self) -> None:
        self._open: list[Word] = []
        self._ends: list[bool] = []
        """Whether each open word that another follows ends a sentence."""
        self._best, self._begins = [0.0], [0]

    @property
    def open(self) -> list[Cue]:
        """The cues of the words that are not settled: more words may change them."""
        return self._cues(None)

    def push(self, event: Word | Pause) -> list[Cue]:
        """Add a word, or a pause before the word that follows it; returns the cues that it
        settles."""
        if isinstance(event, Word):
            return self._push(event)
        self._pauses.append(event.time)
        return []

    def _push(self, word: Word) -> list[Cue]:
        settled: list[Cue] = []
        if self._open and self._has_pause(self._open[-1], word):
            settled = self._cues(word)
            self._clear()
        elif self._open:
            ends = _ends_sentence(self._open[-1], word)
            cost, start = self._last_cue(0.0 if ends else _parting(self._open[-1], word), word)
            self._ends.append(ends)
            self._best.append(cost)
            self._begins.append(start)
        self._open.append(word)
        if _length(self._open) > _SETTLED * self._most:
            first, *_ = self._cues(None)
            settled.append(first)
            left = self._open[len(first.words) :]
            self._clear()
            for each in left:
                settled += self._push(each)
        return settled

    def _has_pause(self, word: Word, following: Word) -> bool:
        past = [time for time in self._pauses if time <= following.start]
        self._pauses = [time for time in self._pauses if time > following.start]
        is_reported = any(word.start < time for time in past)
        return is_reported or rest_between(word, following) > PAUSE_SECONDS

    def _cues(self, following: Word | None) -> list[Cue]:
        """Return the cues of the open words; `following` is the word after them, if known."""
        cues: list[Cue] = []
        end, (_, start) = len(self._open), self._last_cue(0.0, following)
        after = following
        while end:
            group = self._open[start:end]
            shown = max(spoken_end(group[-1]), group[0].start + SHORTEST_SECONDS)
            until = shown if after is None else min(shown, after.start)
            lines = tuple(_lines(group, self._layout))
            cues.append(Cue(lines, group[0].start, _after(group[0].start, until)))
            after, end = group[0], start
            start = self._begins[end]
        return cues[::-1]

    def _last_cue(self, parting: float, following: Word | None) -> tuple[float, int]:
        """Return the least cost of cues of all open words, and where the last of them starts."""
        words, end, found = self._open, len(self._open), (math.inf, 0)
        sentences, length = 0, 0
        for start in self._starts():
            length += len(words[start].text) + 1
            sentences += start < end - 1 and self._ends[start]
            cost = self._best[start] + 1.0 + parting + 1.5 * sentences
            is_whole = not parting and (start == 0 or self._ends[start - 1])
            if end - start == 1 and not is_whole:
                cost += 3.0
            if following is not None:
                shown = following.start - words[start].start
                cost += 3.0 * max(0.0, SHORTEST_SECONDS - shown)
            found = min(found, (cost + (length / self._most) ** 2, start))
        return found

    def _starts(self) -> Iterator[int]:
        """Yield where the cue of the last open word may start, the last place first."""
        words, layout = self._open, self._layout
        lines, width, last = 0, layout.line_width, 0.0
        for start in range(len(words) - 1, -1, -1):
            word = words[start]
            width += 1 + len(word.text)
            if width > layout.line_width:
                lines, width = lines + 1, len(word.text)
            if start == len(words) - 1:
                last = spoken_end(word)
            elif (
                lines > layout.lines
                or len(words) - start > (layout.words or len(words))
                or last - word.start > LONGEST_SECONDS
            ):
                return
            yield start


def cues(events: Iterable[Word | Pause], layout: CueLayout = DEFAULT_LAYOUT) -> Iterator[Cue]:
    """Group words into cues; each pause comes before the word that follows it."""
    maker = CueMaker(layout)
    for event in events:
        yield from maker.push(event)
    yield from maker.open


def _after(start: float, end: float) -> float:
    """Return an end that is not before the start: players refuse cues of no length."""
    return max(end, start + 0.001)


def _parting(word: Word, following: Word) -> float:
    """What it costs to part two words of a sentence."""
    if _CLAUSE.search(word.text):
        return 0.3
    return 0.5 if rest_between(word, following) > REST_SECONDS else 1.0


def _ends_sentence(word: Word, following: Word) -> bool:
    return (
        _SENTENCE.search(word.text) is not None
        and not _ABBREVIATION.match(word.text)
        and not following.text[:1].islower()
    )


def _lines(words: Sequence[Word], layout: CueLayout) -> Iterator[tuple[Word, ...]]:
    """Break a cue into as few lines as possible, all of them as short as possible."""
    count = len(_wrapped(words, layout.line_width))
    longest, length = max(len(word.text) for word in words), _length(words)
    widths = range(max(longest, length // count), layout.line_width)
    fits = (made for width in widths if len(made := _wrapped(words, width)) <= count)
    yield from next(fits, _wrapped(words, layout.line_width))


def _length(words: Sequence[Word]) -> int:
    """Characters of words and of the spaces between them."""
    return sum(len(word.text) + 1 for word in words) - 1


def _wrapped(words: Sequence[Word], width: int) -> list[tuple[Word, ...]]:
    lines: list[tuple[Word, ...]] = []
    length = width
    for word in words:
        length += 1 + len(word.text)
        if length <= width:
            lines[-1] += (word,)
        else:
            lines.append((word,))
            length = len(word.text)
    return lines


@dataclass(frozen=True)
class SubtitleFormat:
    """How a file of subtitles is written: what it begins with, and what a cue looks like."""

    head: str
    point: str
    is_numbered: bool

    def document(self, events: Iterable[Word | Pause], layout: CueLayout = DEFAULT_LAYOUT) -> str:
        """Return a whole file."""
        made = cues(events, layout)
        if layout.highlight:
            made = (each for cue in made for each in cue.of_each_word())
        blocks = [self.block(number, cue) for number, cue in enumerate(made, 1)]
        return "\n".join([self.head, *blocks] if self.head else blocks)

    def block(self, number: int, cue: Cue) -> str:
        """Return one cue, counted from 1."""
        number_line = f"{number}\n" if self.is_numbered else ""
        lines, index = list[str](), 0
        for line in cue.lines:
            texts = [self._escaped(word.text) for word in line]
            if cue.lit is not None and index <= cue.lit < index + len(texts):
                texts[cue.lit - index] = f"<u>{texts[cue.lit - index]}</u>"
            lines.append(" ".join(texts))
            index += len(texts)
        text = "\n".join(lines)
        return f"{number_line}{self._time(cue.start)} --> {self._time(cue.end)}\n{text}\n"

    def _escaped(self, text: str) -> str:
        if self.is_numbered:
            return text
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    def _time(self, seconds: float) -> str:
        milliseconds = round(seconds * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{rest // 1000:02}{self.point}{rest % 1000:03}"


SRT = SubtitleFormat("", ",", is_numbered=True)
VTT = SubtitleFormat("WEBVTT\n", ".", is_numbered=False)


def srt(events: Iterable[Word | Pause], layout: CueLayout = DEFAULT_LAYOUT) -> str:
    """Return a whole SubRip file."""
    return SRT.document(events, layout)


def vtt(events: Iterable[Word | Pause], layout: CueLayout = DEFAULT_LAYOUT) -> str:
    """Return a whole WebVTT file."""
    return VTT.document(events, layout)
