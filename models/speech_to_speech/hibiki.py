"""Hibiki: speech in another language, as the speaker goes on, with its text."""

from dataclasses import dataclass, field
from typing import ClassVar, Unpack

from ...runtime.audio import AudioSource, Pcm
from ...runtime.typing import Array
from ..batch import Stream, TokenTrace
from ..events import Word
from ..families import HIBIKI, Family
from ..options import TranslationKwargs, TranslationOptions
from .model import SpeechModel
from .task import TranslationTask


@dataclass(frozen=True, eq=False)
class Translation:
    """Speech float32 `[n]` at `sample_rate`, its text and its words, with their times in it.

    `complete` is False if it was cut since the model did not end by itself; `seed` makes it
    again.
    """

    pcm: Pcm = field(repr=False)
    sample_rate: int
    text: str
    words: tuple[Word, ...]
    complete: bool
    seed: int | None


class Hibiki(SpeechModel):
    """A speech translator, loaded. May be shared by threads; each of its streams belongs to one at
    a time."""

    family: ClassVar[Family] = HIBIKI

    def translate(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        **options: Unpack[TranslationKwargs],
    ) -> Translation:
        """Translate a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        For the rest see `stream`. Raises AudioError if the audio cannot be read or does not fill a
        frame.
        """
        stream = self.stream(**options)
        made, task = self.transcode(stream, audio, sample_rate, channel), stream.task
        return Translation(
            made.pcm, self.sample_rate, made.text, tuple(made.words), task.complete, task.seed
        )

    def stream(
        self,
        *,
        options: TranslationOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[TranslationKwargs],
    ) -> Stream[TranslationTask]:
        """One independent stream, by `TranslationOptions`: as a whole, or by name. `trace` is
        filled with codes and tokens.

        Raises UsageError for guidance that the model lacks, or a value out of range.
        """
        return Stream(self.batch, self.task(options=options, trace=trace, **named))

    def task(
        self,
        *,
        options: TranslationOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[TranslationKwargs],
    ) -> TranslationTask:
        """What a row of a batch is to do; options and errors as those of `stream`."""
        return TranslationTask(self, options or TranslationOptions(**named), trace=trace)
