"""What a text-to-speech model reads and says at each step, as Kyutai's own machine feeds it.

The machine of `moshi.models.tts` runs beside a model that always knows when the next word begins;
what it then feeds is the text of the training sequence.
"""

from dataclasses import dataclass

import numpy as np
from moshi.models.tts import Entry, StateMachine, TokenIds, script_to_entries
from sentencepiece import SentencePieceProcessor

from training.config import CODEBOOKS, FRAME_RATE, TEXT_CARD
from training.speaker import LEAD_FRAMES, Spoken

TOKENS = TokenIds(TEXT_CARD + 1)
MAX_PADDING = 8
INITIAL_PADDING = 2
PADDING_BETWEEN = 1
GAP = 2
SILENCE = 6
IGNORED = -100


@dataclass(frozen=True)
class Layout:
    """How many steps the sound follows its text, how many words the second text stream looks
    ahead (0: there is none), and how many steps the other codebooks follow the first."""

    delay: int
    ahead: int = 0
    acoustic: int = 1

    @property
    def delays(self) -> list[int]:
        """Of the text and of the codebooks, as in a checkpoint's configuration."""
        return [0, 0, *[self.acoustic] * (CODEBOOKS - 1)]

    def machine(self) -> StateMachine:
        return StateMachine(TOKENS, self.ahead, MAX_PADDING, INITIAL_PADDING)


@dataclass(frozen=True)
class Script:
    """Utterances one after the other; before each but the first a pause of so many forced pads,
    or none."""

    spoken: list[Spoken]
    breaks: list[int]


@dataclass(frozen=True)
class Row:
    """A training sequence of `frames` steps: text as fed [frames], what the model should ask for
    [frames] (0 a word, 3 none, -100 no matter), and codes as fed [8, frames], -1 before the first
    and -100 after the last that matters."""

    text: np.ndarray
    asked: np.ndarray
    codes: np.ndarray


def row(script: Script, frames: int, layout: Layout, tokenizer: SentencePieceProcessor) -> Row:
    entries, starts, end = entries_of(script, tokenizer)
    text, asked = feed(entries, starts, end, frames, layout.machine())
    return Row(text, asked, delayed(codes_of(script), frames, layout))


def entries_of(
    script: Script, tokenizer: SentencePieceProcessor
) -> tuple[list[Entry], list[int], int]:
    """Entries of the machine, the frames in which each should begin, and the frame in which one
    more would."""
    entries: list[Entry] = []
    starts: list[int] = []
    at = LEAD_FRAMES
    for spoken, pads in zip(script.spoken, script.breaks, strict=True):
        if pads:
            at -= GAP - 1
            entries += script_to_entries(tokenizer, TOKENS, FRAME_RATE, [_break(pads)])
            starts.append(at)
            at += pads
        line = " ".join(spoken.words)
        entries += script_to_entries(tokenizer, TOKENS, FRAME_RATE, [line], False, PADDING_BETWEEN)
        starts += [at + start - LEAD_FRAMES for start in spoken.starts]
        at += spoken.end - LEAD_FRAMES + GAP
    return entries, starts, at


def _break(pads: int) -> str:
    return f'<break time="{pads / FRAME_RATE}s"/>'


def feed(
    entries: list[Entry], starts: list[int], end: int, frames: int, machine: StateMachine
) -> tuple[np.ndarray, np.ndarray]:
    """Text as fed [frames] and what the model should ask for [frames]."""
    state, waiting = machine.new_state(entries), [*starts, end]
    text, asked = np.empty(frames, np.int64), np.full(frames, IGNORED)
    for step in range(frames):
        due = bool(waiting) and step >= waiting[0]
        wish = TOKENS.new_word if due else TOKENS.pad
        unheard = bool(state.queued) or state.forced_padding > 0 or state.remaining_padding <= 0
        if waiting and not unheard:
            asked[step] = wish
        text[step], consumed = machine.process(step, state, wish)
        if consumed or state.end_step == step:
            waiting.pop(0)
    return text, asked


def codes_of(script: Script) -> np.ndarray:
    """[8, frames] of the whole script, with some silence after it."""
    parts = [script.spoken[0].codes[:, :LEAD_FRAMES]]
    for i, spoken in enumerate(script.spoken):
        last = i == len(script.spoken) - 1
        pads = 0 if last else script.breaks[i + 1]
        silence = SILENCE if last else 1 + pads if pads else GAP
        parts.append(spoken.codes[:, LEAD_FRAMES : spoken.end])
        tail = spoken.codes[:, spoken.end : spoken.end + silence]
        parts += [tail, np.repeat(tail[:, -1:], silence - tail.shape[1], 1)]
    return np.concatenate(parts, 1).astype(np.int64)


def delayed(codes: np.ndarray, frames: int, layout: Layout) -> np.ndarray:
    """[8, frames]: the codes as many steps late as the layout says."""
    fed = np.full((CODEBOOKS, frames), IGNORED)
    for k, late in enumerate(layout.delays[1:]):
        late += layout.delay
        fed[k, :late] = -1
        count = max(0, min(codes.shape[1], frames - late))
        fed[k, late : late + count] = codes[k, :count]
    return fed
