"""What the models should say at each frame: text tokens, who is done speaking, phonemes."""

from dataclasses import dataclass

import numpy as np
from sentencepiece import SentencePieceProcessor

from training.config import (
    FRAME_RATE,
    PHONE_RATE,
    TEXT_END_PADDING,
    TEXT_PAD,
    VAD_CLASSES,
    VAD_HORIZONS,
)
from training.espeak import Phone, Word

# Position p of a training sequence is the step whose output was heard up to p / 12.5 s. A word
# starting at s is marked where the reader's rule, start = p / 12.5 - 0.5 s, gives s on average.
START_LEAD = 6.75
END_LEAD = 7.75
PAUSE_FRAMES = 3
PHONE_DELAY = 0.04


@dataclass(frozen=True)
class Spoken:
    """A word in a sequence, and when the turn it belongs to began, in seconds."""

    word: Word
    turn: float


def text_tokens(words: list[Word], frames: int, tokenizer: SentencePieceProcessor) -> np.ndarray:
    """[frames]: a marker where each word starts, its pieces after it, padding elsewhere, and
    one more marker where a word ends before a pause."""
    tokens = np.full(frames + 64, TEXT_PAD, np.int64)
    starts = [int(FRAME_RATE * w.start + START_LEAD) for w in words]
    free = 0
    for word, start, following in zip(words, starts, [*starts[1:], None], strict=True):
        at = max(start, free)
        pieces = tokenizer.encode(word.text)
        if at >= frames:
            break
        tokens[at] = TEXT_END_PADDING
        tokens[at + 1 : at + 1 + len(pieces)] = pieces
        free = at + 1 + len(pieces)
        end = max(int(FRAME_RATE * word.end + END_LEAD), free)
        if following is None or following - end >= PAUSE_FRAMES:
            tokens[end] = TEXT_END_PADDING
            free = end + 1
    return tokens[:frames]


def vad_classes(spoken: list[Spoken], frames: int) -> np.ndarray:
    """[frames, horizons]: how many words of the turns begun so far are heard within the horizon,
    up to five. Class 0: the speaker is done for that long."""
    now = np.arange(frames)[:, None, None] / FRAME_RATE
    start = np.array([s.word.start for s in spoken])
    end = np.array([s.word.end for s in spoken])
    turn = np.array([s.turn for s in spoken])
    horizon = np.array(VAD_HORIZONS)[:, None]
    heard = (turn <= now) & (start < now + horizon) & (end > now - 1 / FRAME_RATE)
    return np.minimum(heard.sum(2), VAD_CLASSES - 1)


def phone_labels(phones: list[Phone], ids: dict[str, int], start: float, count: int) -> np.ndarray:
    """[count]: the phoneme heard at the middle of each 20 ms, said 40 ms late, from `start` s."""
    times = np.array([p.start for p in phones])
    names = np.array([0, *(ids.get(p.name, 0) for p in phones)])
    middle = start - PHONE_DELAY + (np.arange(count) + 0.5) / PHONE_RATE
    return names[np.searchsorted(times, middle, side="right")]
