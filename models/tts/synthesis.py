"""Many texts spoken side by side: each begins as soon as a row is free for it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.typing import Array
from ..events import Audio, Event, Word
from .batch import TextToSpeechRow
from .speech_options import SpeechOptions
from .task import Trace, Utterance
from .voices import Voice

if TYPE_CHECKING:
    from .model import TextToSpeech


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
    `[dep_q, T]`. `unspelled` are words that the tokenizer could spell in part only."""

    pcm: Array
    sample_rate: int
    words: list[Word]
    text_tokens: Array
    audio_tokens: Array
    unspelled: list[str] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.pcm) / self.sample_rate


@dataclass(frozen=True)
class Progress:
    """What was made of a text, by its number, since the last time; `ended` with the last of it."""

    index: int
    events: list[Event]
    ended: bool


class Speeches:
    """Texts with their voices, `rows` of them side by side.

    Raises UsageError where one of them says nothing.
    """

    def __init__(
        self,
        model: "TextToSpeech",
        texts: Sequence[tuple[str, ...]],
        voices: Sequence[Voice],
        options: SpeechOptions,
        rows: int,
    ) -> None:
        self._model, self._texts, self._voices, self._options = model, texts, voices, options
        for turns in texts:
            _check(model, turns, options)
        guided = any(voice.is_guided for voice in voices)
        self._batch = model.batch(max(1, min(rows, len(texts))), guided=guided)
        self._traces = [Trace() for _ in texts]
        self._unspelled: dict[int, list[str]] = {}

    def run(self) -> Iterator[Progress]:
        """Speaks them, a step after the other."""
        waiting, spoken = deque(range(len(self._texts))), dict[int, TextToSpeechRow]()
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
                    yield Progress(index, events, ended)

    def speech(self, index: int, events: Sequence[Event]) -> Speech:
        """What became of a text that was begun, from its events."""
        trace, pcm = self._traces[index], [e.pcm for e in events if isinstance(e, Audio)]
        return Speech(
            np.concatenate([np.empty(0, np.float32), *pcm]),
            self._model.sample_rate,
            [event for event in events if isinstance(event, Word)],
            np.array(trace.text, np.int64),
            np.array(trace.audio, np.int64).reshape(-1, self._model.spec.dep_q).T,
            self._unspelled[index],
        )

    def speeches(self) -> Iterator[Speech]:
        """Each once it is spoken, in their order."""
        events: list[list[Event]] = [[] for _ in self._texts]
        ended, told = set[int](), 0
        for progress in self.run():
            events[progress.index] += progress.events
            if progress.ended:
                ended.add(progress.index)
            while told in ended:
                yield self.speech(told, events[told])
                events[told] = []
                told += 1

    def _begin(self, index: int) -> TextToSpeechRow:
        row = self._batch.join(self._voices[index], self._options, self._traces[index])
        self._unspelled[index] = row.utterance.script.unspelled
        for turn in self._texts[index]:
            row.feed(turn)
            row.next_turn()
        row.end()
        return row


def _check(model: "TextToSpeech", turns: Sequence[str], options: SpeechOptions) -> None:
    script = Utterance(model, Voice(), options).script
    if not any([*script.feed(turn), *script.next_turn()] for turn in turns):
        raise UsageError("the text is empty: there is nothing to say")
