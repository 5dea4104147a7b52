"""What Hibiki and Moshi have in common once loaded: a codec both ways and a language model."""

import math
import os
import secrets
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np

from ..runtime.audio import AudioSource, read_audio
from ..runtime.bundle import Bundle
from ..runtime.errors import AudioError, ModelError, UsageError
from ..runtime.manifest import Family
from .drawing import Drawing
from .events import Audio, Event, Text, Word
from .language_model import LanguageModel
from .locate import open_bundle
from .mimi import Mimi
from .speech_stream import SpeechStream
from .tokenizer import open_tokenizer

Array = np.ndarray[Any, Any]


class SpeechModel:
    """A model that hears speech and speaks, loaded. May be shared by threads; each of its streams
    belongs to one at a time. `sample_rate` is in Hz, `frame_size` in samples."""

    family: ClassVar[Family]

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> None:
        _check(bundle)
        assert bundle.manifest.tokenizer is not None
        self.bundle = bundle
        self.mimi = Mimi(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)
        self.sample_rate = self.mimi.sample_rate
        self.frame_size = self.mimi.frame_size
        self.frame_rate = self.mimi.frame_rate
        self.tokenizer = open_tokenizer(bundle.file(bundle.manifest.tokenizer))
        self.language_model = LanguageModel(
            bundle, provider=provider, threads=threads, allow_fallback=allow_fallback
        )

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | Bundle | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> Self:
        """Loads a bundle: a folder, a repository exported before, or `hf://owner/name`; the
        embedded demo by default, where there is one.

        Raises ModelError for a bundle that is missing, damaged, of another family or without a
        decoder, ProviderError where it cannot run.
        """
        bundle = open_bundle(model, cls.family, cls.family)
        return cls(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)

    def drawing(
        self, temp: float | None = None, temp_text: float | None = None, seed: int | None = None
    ) -> Drawing:
        """The repository's sampling, with other temperatures of codes and text where given, and
        with a seed at random unless given. Raises UsageError for a temperature that is none."""
        sampling = self.bundle.manifest.sampling
        assert sampling is not None
        chosen = (
            sampling.temp if temp is None else temp,
            sampling.temp_text if temp_text is None else temp_text,
        )
        for value in chosen:
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"temperature {value}: give a number of 0 or more")
        seed = secrets.randbits(32) if seed is None else seed
        return Drawing(*chosen, sampling.top_k, sampling.top_k_text, seed)

    def hear(self, stream: SpeechStream, audio: Array | AudioSource, channel: int | None) -> "Said":
        """Feeds a whole recording, a file or samples float32 `[n]`, and gathers what is said.

        Raises AudioError where it cannot be read or does not fill a frame.
        """
        said = Said()
        blocks = (
            [audio]
            if isinstance(audio, np.ndarray)
            else read_audio(audio, self.sample_rate, channel=channel)
        )
        for block in blocks:
            said.take(stream.feed(block))
        if not stream.heard_seconds:
            raise AudioError(too_short(self))
        said.take(stream.finish())
        return said


def too_short(model: SpeechModel) -> str:
    """What is wrong with a recording that has no whole frame."""
    return f"the recording is shorter than a frame of {1000 / model.frame_rate:.0f} ms"


class Said:
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


def _check(bundle: Bundle) -> None:
    manifest = bundle.manifest
    if not manifest.codec.decoder:
        raise ModelError(
            f"{bundle.path} has no decoder to speak with; export it again with '--decoder'"
        )
    if manifest.lm is None or manifest.lm.depth is None or manifest.tokenizer is None:
        raise ModelError(
            f"{bundle.path} has no depth transformer to speak with; export it again with this "
            "release of kyutai-onnx"
        )
