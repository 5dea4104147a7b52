"""Speech to text: words with their times, as the audio comes in."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from ...runtime.audio import AudioSource, audio_blocks
from ...runtime.errors import AudioError, UsageError
from ..events import Event, Word
from ..families import SPEECH_TO_TEXT, Family
from ..model import Model
from ..options import SamplingParams, check_parameters
from .batch import SpeechToTextBatch, SpeechToTextRow
from .pauses import HEAD, TurnPolicy
from .stream import SpeechToTextStream
from .task import Heard

Array = np.ndarray[Any, Any]
ROWS = 8
"""Recordings that are heard side by side: more gain little on a CPU (docs/performance.md)."""


class SpeechToText(Model):
    """A speech-to-text model, loaded. May be shared by threads; each of its streams belongs to one
    at a time."""

    family: ClassVar[Family] = SPEECH_TO_TEXT

    @property
    def has_pauses(self) -> bool:
        """Whether the model tells the end of a turn."""
        return self.language_model.spec.extra_heads > HEAD

    def transcribe(
        self, audio: Array | AudioSource, *, channel: int | None = None
    ) -> Iterator[Word]:
        """The words of a file, or of samples float32 `[n]` at `sample_rate`, as they are found.

        Raises AudioError where the file cannot be read, after the words found before the fault.
        """
        stream = self.stream()
        blocks = audio_blocks(audio, self.sample_rate, channel=channel)
        failure = None
        try:
            for block in blocks:
                yield from _words(stream.feed(block))
        except AudioError as error:
            failure = error
        yield from _words(stream.flush())
        if failure is not None:
            raise failure

    def stream(
        self,
        *,
        prompt: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        heard: Heard | None = None,
        policy: TurnPolicy | None = None,
        watchdog: float | None = None,
        live: bool = False,
        lead: bool = True,
    ) -> SpeechToTextStream:
        """One independent stream.

        `prompt` is text that the model is made to say first. `temperature` replaces the model's
        own (0 takes the best token), `seed` makes draws repeat, `heard` is filled with codes and
        tokens. `policy` says when pauses and ends of turns are told; after `watchdog` seconds of
        what sounds like speech without text the model is begun anew (see `restart`). `live` tells
        every frame heard (`Step`), and every word as soon as it is whole (`WordHeard`) too;
        `lead=False` puts no silence before the audio, for those who bring their own.

        Raises UsageError for a prompt that the tokenizer cannot spell, or a policy for a head that
        the model lacks.
        """
        batch = self.batch(1)
        row = batch.join(
            prompt=prompt,
            temperature=temperature,
            seed=seed,
            heard=heard,
            policy=policy,
            watchdog=watchdog,
            live=live,
            lead=lead,
        )
        return SpeechToTextStream(self, batch, row)

    def batch(self, rows: int = ROWS) -> SpeechToTextBatch:
        """Up to so many streams, stepped together."""
        return SpeechToTextBatch(self, rows)

    def together(self, recordings: Iterable[Array], rows: int = ROWS) -> Iterator[list[Event]]:
        """The events of many recordings, samples float32 `[n]` at `sample_rate`, in their order,
        `rows` of them heard side by side: the same as of each alone."""
        batch, coming = self.batch(rows), iter(recordings)
        heard: deque[tuple[SpeechToTextRow, list[list[Event]]]] = deque()
        while True:
            while batch.free and (pcm := next(coming, None)) is not None:
                row = batch.join()
                row.feed(pcm)
                row.end()
                heard.append((row, []))
            if not batch.step():
                break
            for row, found in heard:
                if (row.done or row.error is not None) and not found:
                    found.append(row.take())
                    batch.leave(row)
            while heard and heard[0][1]:
                yield heard.popleft()[1][0]

    def drawing(self, temperature: float | None = None, seed: int | None = None) -> SamplingParams:
        """The repository's sampling of text, with another temperature where given. Raises
        UsageError for a value out of range."""
        check_parameters(temperature=temperature)
        sampling = self.sampling
        return SamplingParams(
            text_temperature=sampling.temp_text if temperature is None else temperature,
            text_top_k=sampling.top_k_text,
            seed=seed,
        )

    def spell(self, prompt: str) -> tuple[int, ...]:
        """The tokens of a prompt; raises UsageError where it cannot be spelt."""
        tokens = tuple(self.tokenizer.encode(prompt))
        if self.tokenizer.unk_id() in tokens:
            raise UsageError(f"the prompt {prompt!r} has characters that this model cannot spell")
        return tokens


def _words(events: list[Any]) -> Iterator[Word]:
    return (event for event in events if isinstance(event, Word))
