"""Moshi: the other side of a talk, heard and spoken at once."""

from dataclasses import dataclass
from typing import ClassVar, Unpack

from ...runtime.audio import AudioSource
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import ModelError
from ...runtime.typing import Array
from ..events import Word
from ..families import MOSHI, Family
from ..options import SamplingKwargs
from ..row_batch import RowBatch
from .model import SpeechModel
from .stream import SpeechStream
from .task import Settings, SpeechRow, Trace


@dataclass(frozen=True, eq=False)
class Reply:
    """Speech float32 `[n]` at `sample_rate` that goes along with what was heard, its text and its
    words, with their times in it; `seed` makes it again."""

    pcm: Array
    sample_rate: int
    text: str
    words: tuple[Word, ...]
    seed: int | None


class Moshi(SpeechModel):
    """A partner in conversation, loaded. May be shared by threads; each of its streams belongs to
    one at a time."""

    family: ClassVar[Family] = MOSHI

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        super().check(bundle)
        assert bundle.manifest.lm is not None
        known = ", ".join(bundle.manifest.lm.conditioners)
        if known:
            raise ModelError(
                f"{bundle.path}: a Moshi with conditions ({known}), which nobody has a rule for; "
                "use one without"
            )

    def reply(
        self,
        audio: Array | bytes | AudioSource,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        **draws: Unpack[SamplingKwargs],
    ) -> Reply:
        """Reply to a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        The reply is Moshi's side of the conversation while the audio lasts. For the rest see
        `stream`. Raises AudioError if the audio cannot be read or does not fill a frame.
        """
        stream = self.stream(**draws)
        said = self.hear(stream, audio, sample_rate, channel)
        return Reply(said.pcm, self.sample_rate, said.text, tuple(said.words), stream.seed)

    def stream(
        self, *, trace: Trace | None = None, **draws: Unpack[SamplingKwargs]
    ) -> SpeechStream:
        """One independent stream. `trace` is filled with codes and tokens; the rest are
        `SamplingKwargs`, overriding the model's own sampling (Moshi stays silent at temperature 0).

        Raises UsageError for a value out of range.
        """
        return SpeechStream(self, Settings(self.drawing(**draws)), trace)

    def batch(self, rows: int) -> "MoshiBatch":
        """Up to so many talks, stepped together."""
        return MoshiBatch(self, rows)


class MoshiBatch(RowBatch[SpeechRow]):
    """`rows` talks at most, stepped together. Belongs to one thread at a time."""

    def __init__(self, model: Moshi, rows: int) -> None:
        super().__init__(model, rows)
        self.model = model

    def join(self, *, trace: Trace | None = None, **draws: Unpack[SamplingKwargs]) -> SpeechRow:
        """A new talk, told as `Moshi.stream` is; raises UsageError as that does, and where all rows
        are taken."""
        settings = Settings(self.model.drawing(**draws))
        return self.add(SpeechRow(self, self.model, settings, trace))
