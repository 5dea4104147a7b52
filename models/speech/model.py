"""What Hibiki and Moshi have in common: they speak while they hear."""

import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ...runtime.audio import AudioSource, audio_blocks
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import AudioError, ModelError
from ...runtime.typing import Array
from ..events import Audio, Event, Text, Word
from ..model import Model
from ..options import SamplingKwargs, SamplingParams
from .stream import SpeechStream


class SpeechModel(Model):
    """A model that hears speech and speaks, loaded."""

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

    def drawing(self, **draws: Unpack[SamplingKwargs]) -> SamplingParams:
        """The repository's sampling but for what is given. Raises UsageError for a value out
        of range."""
        sampling = self.sampling
        own = SamplingParams(
            sampling.temp,
            sampling.temp_text,
            sampling.top_k,
            sampling.top_k_text,
            secrets.randbits(32),
        )
        given: dict[str, Any] = {name: one for name, one in draws.items() if one is not None}
        return replace(own, **given)

    def hear(
        self,
        stream: SpeechStream,
        audio: Array | bytes | AudioSource,
        sample_rate: int | None,
        channel: int | None,
    ) -> "SpeechResult":
        """Feed a whole recording and gather the speech and text of the model.

        Raises AudioError if it cannot be read or does not fill a frame.
        """
        said = SpeechResult()
        blocks = audio_blocks(audio, self.sample_rate, source_rate=sample_rate, channel=channel)
        for block in blocks:
            said.take(stream.feed(block))
        if not stream.heard_seconds:
            raise AudioError(too_short(self.frame_rate))
        said.take(stream.finish())
        return said


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
