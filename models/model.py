"""What every family has once loaded: a codec, a tokenizer and a language model."""

import os
from typing import Any, ClassVar, Self, TypedDict, Unpack

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import Precision
from ..runtime.errors import UsageError
from ..runtime.tokenizer import open_tokenizer
from .families import Family
from .lm.language_model import LanguageModel
from .mimi.model import CodecCache, Mimi
from .resolve import Progress, Wanted, open_bundle


class HardwareKwargs(TypedDict, total=False):
    """What a model runs on: an execution provider ("auto" is that of the bundle), CPU threads for
    each graph, and whether another provider than that of the bundle will do."""

    provider: str
    threads: int | None
    allow_fallback: bool


class LoadingKwargs(HardwareKwargs, total=False):
    """How a model is loaded. Models that are given the same `codecs` share what their codecs have
    in common. `codebooks`, of text to speech, makes only so many of each frame: quicker, less
    clear."""

    codecs: CodecCache | None
    codebooks: int | None


class Model:
    """A model, loaded. May be shared by threads; each of its streams belongs to one at a time.

    `sample_rate` is in Hz, `frame_rate` in frames a second, `frame_size` in samples.
    """

    family: ClassVar[Family]

    def __init__(
        self,
        bundle: Bundle,
        *,
        codecs: CodecCache | None = None,
        codebooks: int | None = None,
        **hardware: Unpack[HardwareKwargs],
    ) -> None:
        self.check(bundle)
        if codebooks is not None and not self.family.reads_text:
            raise UsageError("codebooks are chosen for text to speech alone; leave them out")
        manifest = bundle.manifest
        assert manifest.sampling is not None
        assert manifest.tokenizer is not None
        self.bundle, self.sampling = bundle, manifest.sampling
        self.mimi = Mimi(bundle, codecs=codecs, **hardware)
        self.sample_rate = self.mimi.sample_rate
        self.frame_rate = self.mimi.frame_rate
        self.frame_size = self.mimi.frame_size
        self.tokenizer = open_tokenizer(bundle.file(manifest.tokenizer))
        self.language_model = LanguageModel(bundle, codebooks=codebooks, **hardware)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, precision={self.precision!r}, "
            f"provider={self.language_model.provider_name!r}, sample_rate={self.sample_rate})"
        )

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.bundle.manifest.name

    @property
    def precision(self) -> str:
        """Of its weights."""
        return self.bundle.manifest.precision

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | Bundle | None = None,
        *,
        precision: Precision | None = None,
        progress: Progress = lambda *_: None,
        **loading: Unpack[LoadingKwargs],
    ) -> Self:
        """Load a bundle: a folder, a repository such as `kyutai/stt-1b-en_fr`, or
        `hf://owner/name`; the embedded demo by default, if the family has one.

        A repository is downloaded and converted at its first use, to `precision` (int8 for the CPU
        and fp16 for other providers by default); one line is logged, and `progress` is called with
        what is done, how much, and of how much. The rest are `LoadingKwargs`.

        Raises ModelError for a model that is missing, damaged, of another family or without what
        it needs, ProviderError if it cannot run, UsageError for more codebooks than there are.
        """
        provider = loading.get("provider", "auto")
        wanted = Wanted(precision=precision, provider=provider, progress=progress)
        return cls(open_bundle(model, cls.family, wanted), **loading)

    def task(self, *given: Any, **options: Any) -> Any:
        """What a row of a batch is to do: the family's `Task`, with options of its own."""
        raise NotImplementedError

    def batch(self, *given: Any, **options: Any) -> Any:
        """A `Batch` of so many rows at most."""
        raise NotImplementedError

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        """Raise ModelError if a bundle of the family lacks what the model needs."""
