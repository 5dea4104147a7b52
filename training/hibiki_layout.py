"""What a speech-to-speech model hears, writes and says at each step, in Kyutai's Hibiki layout.

A translation begins when the speaker has been silent for 5 frames or the input has ended. Words
are written `DELAY` steps before they are said. One frame of the codebooks' size on all source
codebooks marks the end of the input; the text ends with the end-of-sentence token.
"""

from dataclasses import dataclass

import numpy as np
from sentencepiece import SentencePieceProcessor

from training.config import BINS, CODEBOOKS, TEXT_END_PADDING, TEXT_PAD
from training.french import Pair
from training.speaker import LEAD_FRAMES, Spoken

DELAY = 3
DELAYS = [0, 0, *[1] * (CODEBOOKS - 1), *[0] * CODEBOOKS]
PATIENCE = 5
EOS = 2
END = BINS
IGNORED = -100


@dataclass(frozen=True)
class Turn:
    """A number heard from frame `start` on."""

    pair: Pair
    start: int

    @property
    def heard(self) -> int:
        """The frame after its last."""
        return self.start + self.pair.end


@dataclass(frozen=True)
class Row:
    """A sequence: text [frames], codes said [8, frames] with the silences between, codes heard
    [8, frames], phonemes heard [frames, 4], and whether the model is speaking [frames]. Text after
    the end of the text is -100."""

    text: np.ndarray
    said: np.ndarray
    heard: np.ndarray
    phones: np.ndarray
    speaking: np.ndarray


def answer(turn: Turn, end: int) -> int:
    """The frame in which the translation's text begins, where the input ends in frame `end`."""
    return min(turn.heard + PATIENCE, max(end, turn.heard) + 1)


def finished(turn: Turn, end: int) -> int:
    """The frame after the last word of a translation."""
    return answer(turn, end) + DELAY + turn.pair.target.end - LEAD_FRAMES


def row(
    turns: list[Turn],
    end: int,
    frames: int,
    silence: np.ndarray,
    tokenizer: SentencePieceProcessor,
) -> Row:
    """Turns one after the other, and the end of the input in frame `end`."""
    heard, phones = source(turns, end, frames, silence)
    text = np.full(frames, TEXT_PAD)
    said = silence[:, :frames].copy()
    speaking = np.zeros(frames, bool)
    done = 0
    for turn in turns:
        at, target = answer(turn, end), turn.pair.target
        write_words(text, target, at, tokenizer)
        codes = target.codes[:, LEAD_FRAMES:]
        _put(said, codes, at + DELAY)
        done = finished(turn, end)
        speaking[max(0, at - 1) : done + 4] = True
    over = max(done, end) + 2
    if over < frames:
        text[over], text[over + 1 :] = EOS, IGNORED
        speaking[over + 1 :] = False
    return Row(text, said, heard, phones, speaking)


def source(
    turns: list[Turn], end: int, frames: int, silence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and phonemes of what is heard: turns in silence, and the mark where the input ends."""
    total = max(frames, end) + 1
    codes = np.take(silence, range(total), axis=1, mode="clip")
    phones = np.zeros((total, 4), np.int64)
    for turn in turns:
        _put(codes, turn.pair.codes, turn.start)
        _put(phones.T, turn.pair.phones.T, turn.start)
    marked = np.concatenate([codes[:, :end], np.full((CODEBOOKS, 1), END), codes[:, end:]], 1)
    return marked[:, :frames], phones[:frames]


def _put(into: np.ndarray, part: np.ndarray, at: int) -> None:
    room = max(0, into.shape[1] - at)
    into[:, at : at + part.shape[1]] = part[:, :room]


def write_words(
    text: np.ndarray, spoken: Spoken, at: int, tokenizer: SentencePieceProcessor
) -> None:
    """A marker where each word begins, and its pieces after it."""
    free = 0
    for word, start in zip(spoken.words, spoken.starts, strict=True):
        first = max(free, at + start - LEAD_FRAMES)
        tokens = [TEXT_END_PADDING, *tokenizer.encode(word)]
        room = max(0, len(text) - first)
        text[first : first + len(tokens)] = tokens[:room]
        free = first + len(tokens)
