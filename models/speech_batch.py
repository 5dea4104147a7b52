"""Many texts spoken side by side, each in a row of one generator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.errors import UsageError
from .events import Audio, Event, Word
from .generation import Generator
from .manner import Manner
from .speaker import Speaker
from .utterance import Trace, Utterance

if TYPE_CHECKING:
    from .text_to_speech import TextToSpeech

Array = np.ndarray[Any, Any]


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


class SpeechBatch:
    """Texts that start together. A row goes on until the last of its neighbours ends, as in moshi
    models/tts.py `generate`; its audio is cut where its own text ends.

    Raises UsageError where one of them says nothing.
    """

    def __init__(
        self,
        model: "TextToSpeech",
        texts: Sequence[Sequence[str]],
        speakers: Sequence[Speaker],
        manner: Manner,
    ) -> None:
        self._model = model
        guided = any(speaker.is_guided for speaker in speakers)
        self._generator = Generator(model.language_model, len(texts), guided=guided)
        self._traces = [Trace() for _ in texts]
        pairs = zip(speakers, self._traces, strict=True)
        self._rows = [Utterance(model, speaker, manner, trace) for speaker, trace in pairs]
        for row, (utterance, turns) in enumerate(zip(self._rows, texts, strict=True)):
            utterance.begin(self._generator, row)
            _say(utterance, turns)

    def run(self) -> Iterator[tuple[int, Event]]:
        """Speaks them: events as they are made, with the number of the text."""
        unheard = self._model.unheard(len(self._rows))
        while not all(utterance.ended for utterance in self._rows):
            made = self._generator.step(unheard).frame
            for row, utterance in enumerate(self._rows):
                for event in utterance.take(made[row]):
                    yield row, event

    def speech(self, row: int, events: Sequence[Event]) -> Speech:
        """What became of a text, from the events of its row."""
        trace, utterance = self._traces[row], self._rows[row]
        pcm = [event.pcm for event in events if isinstance(event, Audio)]
        return Speech(
            np.concatenate([np.empty(0, np.float32), *pcm]),
            self._model.sample_rate,
            [event for event in events if isinstance(event, Word)],
            np.array(trace.text, np.int64),
            np.array(trace.audio, np.int64).reshape(-1, self._model.spec.dep_q).T,
            utterance.script.unspelled,
        )

    def speeches(self) -> list[Speech]:
        """All of them, once they are spoken."""
        events: list[list[Event]] = [[] for _ in self._rows]
        for row, event in self.run():
            events[row].append(event)
        return [self.speech(row, found) for row, found in enumerate(events)]


def _say(utterance: Utterance, turns: Sequence[str]) -> None:
    utterance.add(turns)
    if not utterance.machine.waiting:
        raise UsageError("the text is empty: there is nothing to say")
    utterance.machine.complete = True
