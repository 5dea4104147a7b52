"""Subtitles from words: cues short enough to read, in SubRip (srt) and WebVTT."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..events import Word

LONGEST_SECONDS = 6.0
LONGEST_TEXT = 84
"""Characters of a cue: two lines of 42."""
GAP_SECONDS = 1.0
LINE = 42


@dataclass(frozen=True)
class Cue:
    """A subtitle, from `start` to `end` in seconds."""

    text: str
    start: float
    end: float


def cues(words: Iterable[Word]) -> Iterator[Cue]:
    """Group words into cues; a pause or the longest length of a cue ends one."""
    group: list[Word] = []
    for word in words:
        if group and breaks(group, word):
            yield cue_of(group)
            group = []
        group.append(word)
    if group:
        yield cue_of(group)


def srt(words: Iterable[Word]) -> str:
    """Write a whole SubRip file."""
    return "\n".join(srt_block(number, cue) for number, cue in enumerate(cues(words), 1))


def vtt(words: Iterable[Word]) -> str:
    """Write a whole WebVTT file."""
    blocks = (vtt_block(number, cue) for number, cue in enumerate(cues(words), 1))
    return "\n".join([VTT_HEAD, *blocks])


def srt_block(number: int, cue: Cue) -> str:
    """One cue of a SubRip file, counted from 1."""
    return f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{_lines(cue.text)}\n"


def vtt_block(_number: int, cue: Cue) -> str:
    """One cue of a WebVTT file."""
    times = f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}"
    return f"{times}\n{_escaped(_lines(cue.text))}\n"


VTT_HEAD = "WEBVTT\n"
BLOCKS = {".srt": srt_block, ".vtt": vtt_block}
"""What makes a cue, by the ending of the file; what stands before all of them is in `HEADS`."""
HEADS = {".srt": "", ".vtt": VTT_HEAD}


def breaks(group: list[Word], word: Word) -> bool:
    """Whether a word begins another cue than the one that a group of words makes."""
    text = sum(len(w.text) + 1 for w in group) + len(word.text)
    rests = word.start - group[-1].end > GAP_SECONDS
    ends = group[-1].text[-1:] in ".?!" and text > LINE
    return rests or ends or text > LONGEST_TEXT or word.end - group[0].start > LONGEST_SECONDS


def cue_of(group: list[Word]) -> Cue:
    """The cue of a group of words, one at least."""
    end = max(group[-1].end, group[0].start + 0.1)
    return Cue(" ".join(word.text for word in group), group[0].start, end)


def _lines(text: str) -> str:
    """Two lines of about the same length, if one would be too long."""
    if len(text) <= LINE:
        return text
    spaces = [i for i, c in enumerate(text) if c == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
