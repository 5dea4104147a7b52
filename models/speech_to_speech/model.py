"""What Hibiki and Moshi have in common: they speak while they listen."""

import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ...runtime.audio import AudioSource, audio_blocks
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import AudioError, ModelError
from ...runtime.typing import Array
from ..batch import Batch, Stream, open_batch
from ..events import Audio, Event, Text, Word
from ..model import Model
from ..options import SamplingKwargs, SamplingParams


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

    def sampling_params(self, **given: Unpack[SamplingKwargs]) -> SamplingParams:
        """The repository's sampling but for what is given, and a random seed. Raises UsageError for
        a value out of range."""
        sampling = self.sampling
        own = SamplingParams(
            sampling.temp,
            sampling.temp_text,
            sampling.top_k,
            sampling.top_k_text,
            secrets.randbits(32),
        )
        wanted: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
        return replace(own, **wanted)

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
        if not stream.task.heard_seconds:
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
