"""Moshi: the other side of a conversation, spoken while its partner speaks."""

from dataclasses import dataclass, field
from typing import ClassVar, Unpack

from ...runtime.audio import AudioSource, Pcm
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import ModelError
from ...runtime.typing import Array
from ..batch import Stream, TokenTrace
from ..events import Word
from ..families import MOSHI, Family
from ..options import ConversationKwargs, ConversationOptions
from .model import SpeechModel
from .prompt import make_prompt
from .task import ConversationTask


@dataclass(frozen=True, eq=False)
class Reply:
    """Speech float32 `[n]` at `sample_rate` that goes along with the audio, its text and its
    words, with their times in it; `seed` makes it again."""

    pcm: Pcm = field(repr=False)
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
        **options: Unpack[ConversationKwargs],
    ) -> Reply:
        """Reply to a file, its bytes, or an array at `sample_rate`, the model's own unless given.

        The reply is Moshi's side of the conversation while the audio lasts. For the rest see
        `stream`. Raises AudioError if the audio cannot be read or does not fill a frame.
        """
        stream = self.stream(**options)
        made = self.transcode(stream, audio, sample_rate, channel)
        return Reply(made.pcm, self.sample_rate, made.text, tuple(made.words), stream.task.seed)

    def stream(
        self,
        *,
        options: ConversationOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[ConversationKwargs],
    ) -> Stream[ConversationTask]:
        """One independent stream, by `ConversationOptions`: as a whole, or by name (temperatures
        of 0 keep Moshi silent). `trace` is filled with codes and tokens, without those of a prompt.

        Raises UsageError for a value out of range, and for a role or a voice that the model does
        not take; AudioError for a voice that cannot be read.
        """
        return Stream(self.batch, self.task(options=options, trace=trace, **named))

    def task(
        self,
        *,
        options: ConversationOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[ConversationKwargs],
    ) -> ConversationTask:
        """What a row of a batch is to do; options and errors as those of `stream`."""
        chosen = options or ConversationOptions(**named)
        return ConversationTask(self, chosen, make_prompt(self, chosen), trace=trace)
