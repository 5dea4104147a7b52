"""Speech to text: words with their times, as the audio comes in."""

import os
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from ..runtime.audio import AudioSource, read_audio
from ..runtime.bundle import Bundle
from ..runtime.errors import AudioError, UsageError
from .drawing import Drawing
from .events import Word
from .language_model import LanguageModel
from .locate import open_bundle
from .mimi import Mimi
from .pauses import HEAD
from .speech_to_text_stream import Heard, SpeechToTextStream
from .tokenizer import open_tokenizer

Array = np.ndarray[Any, Any]


class SpeechToText:
    """A speech-to-text model, loaded. May be shared by threads; each of its streams belongs to one
    at a time."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> None:
        manifest = bundle.manifest
        assert manifest.lm is not None
        assert manifest.tokenizer is not None
        self.bundle = bundle
        self.mimi = Mimi(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)
        self.sample_rate = self.mimi.sample_rate
        self.frame_size = self.mimi.frame_size
        self.frame_rate = self.mimi.frame_rate
        self.has_pauses = manifest.lm.extra_heads > HEAD
        self.tokenizer = open_tokenizer(bundle.file(manifest.tokenizer))
        self.lm = LanguageModel(
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
        embedded demo by default.

        Raises ModelError for a bundle that is missing, damaged or of another family, ProviderError
        where it cannot run.
        """
        bundle = open_bundle(model, "stt")
        return cls(bundle, provider=provider, threads=threads, allow_fallback=allow_fallback)

    def transcribe(
        self, audio: Array | AudioSource, *, channel: int | None = None
    ) -> Iterator[Word]:
        """The words of a file, or of samples float32 `[n]` at `sample_rate`, as they are found.

        Raises AudioError where the file cannot be read, after the words found before the fault.
        """
        stream = self.stream()
        blocks = (
            [audio]
            if isinstance(audio, np.ndarray)
            else read_audio(audio, self.sample_rate, channel=channel)
        )
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
    ) -> SpeechToTextStream:
        """One independent stream.

        `prompt` is text that the model is made to say first. `temperature` replaces the model's
        own (0 takes the best token), `seed` makes draws repeat, `heard` is filled with codes and
        tokens. Raises UsageError for a prompt that the tokenizer cannot spell.
        """
        sampling = self.bundle.manifest.sampling
        assert sampling is not None
        drawing = Drawing(
            temp_text=sampling.temp_text if temperature is None else temperature,
            top_k_text=sampling.top_k_text,
            seed=seed,
        )
        return SpeechToTextStream(self, drawing, self._spell(prompt) if prompt else (), heard)

    def _spell(self, prompt: str) -> tuple[int, ...]:
        tokens = tuple(self.tokenizer.encode(prompt))
        if self.tokenizer.unk_id() in tokens:
            raise UsageError(f"the prompt {prompt!r} has characters that this model cannot spell")
        return tokens


def _words(events: list[Any]) -> Iterator[Word]:
    return (event for event in events if isinstance(event, Word))
