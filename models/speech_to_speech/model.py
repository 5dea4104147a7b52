"""What Hibiki and Moshi have in common: they speak while they receive audio."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...runtime.audio import AudioSource, audio_blocks
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import AudioError, ModelError
from ...runtime.typing import Array
from ..batch import Batch, Stream, open_batch
from ..events import Audio, Event, Text, Word
from ..model import Model


class SpeechModel(Model):
    """A model that answers speech with speech, loaded."""

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not manifest.codec.decoder:
            raise ModelError(
                f"{bundle.path} has no decoder to speak with; export it again with '--decoder'"
            )
        if manifest.lm is None or manifest.lm.depth is None:
            raise ModelError(
                f"{bundle.path} has no depth transformer to speak with; export it again with this "
                "release of kyutai-onnx"
            )

    def batch(self, rows: int, *, guided: bool = False) -> Batch[Any]:
        """Up to so many streams, stepped together; `guided` if one may be, by `cfg_coef`: then all
        of them cost twice as much."""
        return open_batch(self, rows, guided=guided)

    def transcode(
        self,
        stream: Stream[Any],
        audio: Array | bytes | AudioSource,
        sample_rate: int | None,
        channel: int | None,
    ) -> "SpeechResult":
        """Feed a whole recording and gather the speech and text of the model.

        Raises AudioError if it cannot be read or does not fill a frame.
        """
        made = SpeechResult()
        blocks = audio_blocks(audio, self.sample_rate, source_rate=sample_rate, channel=channel)
        for block in blocks:
            made.take(stream.feed(block))
        if not stream.task.received_seconds:
            raise AudioError(too_short(self.frame_rate))
        stream.end()
        made.take(stream.events())
        return made


def too_short(frame_rate: float) -> str:
    """What is wrong with a recording that has no whole frame."""
    return f"the recording is shorter than a frame of {1000 / frame_rate:.0f} ms"


class SpeechResult:
    """Gathers the events of a stream."""

    def __init__(self) -> None:
        self._pcm: list[Array] = []
        self._pieces: list[str] = []
        self.words: list[Word] = []

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Audio):
                self._pcm.append(event.pcm)
            elif isinstance(event, Text):
                self._pieces.append(event.text)
            elif isinstance(event, Word):
                self.words.append(event)

    @property
    def pcm(self) -> Array:
        """Float32 `[n]`."""
        return np.concatenate(self._pcm) if self._pcm else np.empty(0, np.float32)

    @property
    def text(self) -> str:
        return "".join(self._pieces).strip()
