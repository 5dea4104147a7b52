"""Speech to text: words with their times, as the audio comes in."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal, Unpack, overload

from ...runtime.audio import AudioSource, Pcm, audio_blocks
from ...runtime.errors import AudioError, UsageError
from ...runtime.typing import Array
from ..batch import Batch, Row, Stream, TokenTrace, open_batch
from ..events import EndOfTurn, Event, Pause, Word
from ..families import SPEECH_TO_TEXT, Family
from ..model import Model
from ..options import HEAD, SpeechToTextKwargs, SpeechToTextOptions
from .task import SpeechToTextTask

ROWS = 8
"""Recordings that are transcribed side by side: more gain little on a CPU (docs/performance.md)."""


class SpeechToText(Model):
    """A speech-to-text model, loaded. May be shared by threads; each of its streams belongs to one
    at a time."""

    family: ClassVar[Family] = SPEECH_TO_TEXT

    @property
    def has_pauses(self) -> bool:
        """Whether the model recognizes the end of a turn."""
        return self.language_model.spec.extra_heads > HEAD

    @overload
    def transcribe(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        pauses: Literal[False] = False,
        **options: Unpack[SpeechToTextKwargs],
    ) -> Iterator[Word]: ...
    @overload
    def transcribe(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        pauses: bool,
        **options: Unpack[SpeechToTextKwargs],
    ) -> Iterator[Word | Pause | EndOfTurn]: ...

    def transcribe(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        pauses: bool = False,
        **options: Unpack[SpeechToTextKwargs],
    ) -> Iterator[Word | Pause | EndOfTurn]:
        """Transcribe a recording: yield its words as they are found.

        `audio` is a path, an open binary file, the bytes of a file, or an array `[n]` or
        `[n, channels]` of any float or integer type at `sample_rate`, the model's own unless given.
        `channel` chooses one channel instead of their mean. With `pauses`, pauses and ends of turns
        are yielded between the words. The rest are `SpeechToTextOptions`.

        Raises UsageError for `pauses` of a model without extra heads and as `stream` does;
        iterating raises AudioError if the audio cannot be read, after the words before the fault.
        """
        if pauses and not self.has_pauses:
            raise UsageError(
                f"{self.name} does not recognize pauses; export it with '--extra-heads REPO', such "
                "as kyutai/stt-1b-en_fr-candle, or leave pauses out"
            )
        stream = self.stream(**options)
        blocks = audio_blocks(audio, self.sample_rate, source_rate=sample_rate, channel=channel)
        kinds = (Word, Pause, EndOfTurn) if pauses else (Word,)
        return (event for event in _events(stream, blocks) if isinstance(event, kinds))

    def stream(
        self,
        *,
        options: SpeechToTextOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[SpeechToTextKwargs],
    ) -> Stream[SpeechToTextTask]:
        """One independent stream, by `SpeechToTextOptions`: as a whole, or by name. `trace` is
        filled with codes and tokens.

        Raises UsageError for a prompt that the tokenizer cannot spell, a policy for a head that the
        model lacks, or a value out of range.
        """
        return Stream(self.batch, self.task(options=options, trace=trace, **named))

    def task(
        self,
        *,
        options: SpeechToTextOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[SpeechToTextKwargs],
    ) -> SpeechToTextTask:
        """What a row of a batch is to do; options and errors as those of `stream`."""
        return SpeechToTextTask(self, options or SpeechToTextOptions(**named), trace=trace)

    def batch(self, rows: int = ROWS, *, guided: bool = False) -> Batch[SpeechToTextTask]:
        """Up to so many streams, stepped together."""
        return open_batch(self, rows, guided=guided)

    def together(
        self,
        recordings: Iterable[Array],
        rows: int = ROWS,
        **options: Unpack[SpeechToTextKwargs],
    ) -> Iterator[list[Event]]:
        """The events of many recordings, samples float32 `[n]` at `sample_rate`, in their order,
        `rows` of them side by side: the same as of each alone."""
        batch, coming = self.batch(rows), iter(recordings)
        read: deque[tuple[Row[SpeechToTextTask], list[list[Event]]]] = deque()
        while True:
            while batch.free and (pcm := next(coming, None)) is not None:
                row = batch.join(self.task(**options))
                row.feed(pcm)
                row.end()
                read.append((row, []))
            if not read:
                return
            batch.step()
            for row, found in read:
                if (row.done or row.error is not None) and not found:
                    found.append(row.events())
                    batch.leave(row)
            while read and read[0][1]:
                yield read.popleft()[1][0]


def _events(stream: Stream[SpeechToTextTask], blocks: Iterable[Pcm]) -> Iterator[Event]:
    """All events of a recording; those before a fault, then the fault."""
    failure = None
    try:
        for block in blocks:
            yield from stream.feed(block)
    except AudioError as error:
        failure = error
    yield from stream.flush()
    if failure is not None:
        raise failure
