"""Many texts spoken side by side: each begins as soon as a row is free for it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...runtime.audio import Pcm
from ...runtime.errors import UsageError
from ...runtime.typing import Codes, Tokens
from ..batch import Batch, Row, TokenTrace
from ..events import Audio, Event, Word
from .task import TextToSpeechTask

Turns = tuple[str, ...]
"""The main speaker's turn first."""
NOTHING_TO_SAY = "the text is empty: there is nothing to say"


@dataclass(frozen=True)
class SpeechRequest:
    """A text among others, with the fields of moshi run_tts.py: turns, the main speaker's first,
    and their voices."""

    turns: tuple[str, ...]
    voices: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, eq=False)
class Speech:
    """A text that was spoken: samples float32 `[n]` in [-1, 1], words with their times, and every
    frame that was made, the -1 before the audio with them: text int64 `[T]`, codes int64
    `[dep_q, T]`. `unspelled` are words that the tokenizer cannot spell, or in part only;
    `dropped_tags` are names of tags of SSML that were left out."""

    pcm: Pcm = field(repr=False)
    sample_rate: int
    words: list[Word]
    text_tokens: Tokens = field(repr=False)
    audio_tokens: Codes = field(repr=False)
    unspelled: list[str] = field(default_factory=list)
    dropped_tags: list[str] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.pcm) / self.sample_rate


@dataclass(frozen=True)
class SynthesisProgress:
    """What was made of a text, by its number, since the last time; `ended` with the last of it."""

    index: int
    events: list[Event]
    ended: bool


class SynthesisBatch:
    """Texts, `(turns, task)` each, in the rows of a batch, so many at a time.

    Raises UsageError if one of them has no word.
    """

    def __init__(
        self, batch: Batch[TextToSpeechTask], texts: Sequence[tuple[Turns, TextToSpeechTask]]
    ) -> None:
        self._batch, self._texts = batch, texts
        for turns, task in texts:
            if not task.has_words(turns):
                raise UsageError(NOTHING_TO_SAY)

    def run(self) -> Iterator[SynthesisProgress]:
        """Speak them, a step after the other."""
        waiting, spoken = deque(range(len(self._texts))), dict[int, Row[TextToSpeechTask]]()
        while waiting or spoken:
            while waiting and self._batch.free:
                index = waiting.popleft()
                spoken[index] = self._begin(index)
            self._batch.step()
            for index, row in list(spoken.items()):
                events, ended = row.events(), row.done
                if ended:
                    self._batch.leave(spoken.pop(index))
                if events or ended:
                    yield SynthesisProgress(index, events, ended)

    def speech(self, index: int, events: Sequence[Event]) -> Speech:
        """The speech of a text that has ended, from its events."""
        task, pcm = self._texts[index][1], [e.pcm for e in events if isinstance(e, Audio)]
        trace = task.trace or TokenTrace()
        return Speech(
            np.concatenate([np.empty(0, np.float32), *pcm]),
            task.model.sample_rate,
            [event for event in events if isinstance(event, Word)],
            np.array(trace.text, np.int64),
            np.array(trace.audio, np.int64).reshape(-1, task.model.language_model.spec.dep_q).T,
            task.unspelled,
            task.dropped_tags,
        )

    def speeches(self) -> Iterator[Speech]:
        """Each once it is spoken, in their order."""
        events: list[list[Event]] = [[] for _ in self._texts]
        ended, next_index = set[int](), 0
        for progress in self.run():
            events[progress.index] += progress.events
            if progress.ended:
                ended.add(progress.index)
            while next_index in ended:
                yield self.speech(next_index, events[next_index])
                events[next_index] = []
                next_index += 1

    def _begin(self, index: int) -> Row[TextToSpeechTask]:
        turns, task = self._texts[index]
        row = self._batch.join(task)
        for turn in turns:
            row.feed(turn)
            task.next_turn()
        row.end()
        return row
