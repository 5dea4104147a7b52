"""Text to speech: a text, or many, spoken in a voice; or a stream that speaks as text comes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Unpack

from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import ModelError
from ..batch import Batch, Stream, TokenTrace, open_batch, state_fields
from ..families import TEXT_TO_SPEECH, Family
from ..model import LoadingKwargs, Model
from ..options import SpeechKwargs, SpeechOptions
from .synthesis import Speech, SpeechRequest, SynthesisBatch, Turns
from .task import TextToSpeechTask, audio_delay_steps
from .voices import Voice, VoiceLoader, Voices

VoiceChoice = str | Path | Sequence[str | Path] | None
ROWS = 32
"""Texts that are spoken side by side, as moshi run_tts.py has it."""


class TextToSpeech(Model):
    """A text-to-speech model, loaded. May be shared by threads; each of its streams belongs to one
    at a time."""

    family: ClassVar[Family] = TEXT_TO_SPEECH

    def __init__(self, bundle: Bundle, **loading: Unpack[LoadingKwargs]) -> None:
        super().__init__(bundle, **loading)
        self.spec = self.language_model.spec
        self.voices = Voices(bundle)
        self.delay_steps = audio_delay_steps(self)
        self.voice_loader = VoiceLoader(
            self.voices,
            self.language_model,
            self.mimi,
            delay_steps=self.delay_steps,
            fields=lambda: state_fields(TextToSpeechTask, self),
        )

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        assert bundle.manifest.tts is not None
        if bundle.manifest.tts.multistream:
            raise ModelError(
                f"{bundle.path}: speaks two voices in two streams at once (multistream), which is "
                "not supported; choose another model"
            )

    @property
    def takes_embeddings(self) -> bool:
        """Whether a voice is an embedding, or two of them are; otherwise it is a recording that the
        model continues."""
        return self.voice_loader.takes_embeddings

    @property
    def default_voice(self) -> str | None:
        """The name of the voice that is meant if none is asked for."""
        return self.voices.default

    @property
    def is_greedy(self) -> bool:
        """Whether its tokens are not sampled unless a temperature is given."""
        return self.sampling.temp == self.sampling.temp_text == 0

    def speak(
        self, text: str | Sequence[str], voice: VoiceChoice = None, **options: Unpack[SpeechKwargs]
    ) -> Speech:
        """Speak a text, or the turns of two speakers, in a voice; see `stream`."""
        turns = (text,) if isinstance(text, str) else tuple(text)
        wanted = SpeechOptions(**options)
        loaded = self.load_voice(voice, wanted.cfg_coef)
        return next(self._synthesis([turns], [loaded], wanted, rows=1).speeches())

    def stream(
        self,
        voice: VoiceChoice | Voice = None,
        *,
        options: SpeechOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[SpeechKwargs],
    ) -> Stream[TextToSpeechTask]:
        """One independent stream, by `SpeechOptions`: as a whole, or by name.

        `voice` is a name, a file or a list of them, the main speaker's first; a `.npz` of a saved
        stream goes on from there; None leaves the voice to the model; one that is loaded may be
        used by many. `trace` is filled with every frame. Raises as `load_voice` does.
        """
        return Stream(self.batch, self.task(voice, options=options, trace=trace, **named))

    def task(
        self,
        voice: VoiceChoice | Voice = None,
        *,
        options: SpeechOptions | None = None,
        trace: TokenTrace | None = None,
        **named: Unpack[SpeechKwargs],
    ) -> TextToSpeechTask:
        """What a row of a batch is to do; options and errors as those of `stream`."""
        wanted = options or SpeechOptions(**named)
        if not isinstance(voice, Voice):
            voice = self.load_voice(voice, wanted.cfg_coef)
        return TextToSpeechTask(self, voice, wanted, trace=trace)

    def batch(self, rows: int, *, guided: bool = False) -> Batch[TextToSpeechTask]:
        """Up to so many texts, stepped together; `guided` if a voice may be
        (`Voice.is_guided`): then all of them cost twice as much."""
        return open_batch(self, rows, guided=guided)

    def speak_many(
        self,
        requests: Sequence[SpeechRequest],
        *,
        rows: int = ROWS,
        **options: Unpack[SpeechKwargs],
    ) -> Iterator[Speech]:
        """Many texts, `rows` of them side by side, in their order.

        Raises UsageError if one of them has no word, and as `load_voice` does.
        """
        yield from self.together(requests, rows=rows, **options).speeches()

    def together(
        self,
        requests: Sequence[SpeechRequest],
        *,
        rows: int = ROWS,
        options: SpeechOptions | None = None,
        **named: Unpack[SpeechKwargs],
    ) -> SynthesisBatch:
        """Many texts, whose events come as they are spoken; see `speak_many`."""
        wanted = options or SpeechOptions(**named)
        voices = {request.voices for request in requests}
        made = {voice: self.load_voice(voice, wanted.cfg_coef) for voice in voices}
        loaded = [made[request.voices] for request in requests]
        return self._synthesis([request.turns for request in requests], loaded, wanted, rows)

    def load_voice(self, voice: VoiceChoice, cfg_coef: float | None = None) -> Voice:
        """Load a voice that several streams may use.

        Raises UsageError for an unknown voice, one that this model cannot take or a coefficient
        that its table lacks, ModelError for a file that is no voice.
        """
        voices = [voice] if isinstance(voice, str | Path) else list(voice or ())
        return self.voice_loader.load(voices, cfg_coef)

    def prime(self, voice: Voice) -> Voice:
        """Step through a voice's prompt once, so that no stream has to; the speech is the same."""
        if voice.prompt is None or voice.primed is not None:
            return voice
        batch = self.batch(1, guided=voice.is_guided)
        row = batch.join(self.task(voice))
        while row.task.hooks.in_prefix:
            batch.step()
            row.events()
        return replace(voice, primed=row.save())

    def _synthesis(
        self, texts: Sequence[Turns], voices: Sequence[Voice], options: SpeechOptions, rows: int
    ) -> SynthesisBatch:
        tasks = [TextToSpeechTask(self, voice, options, trace=TokenTrace()) for voice in voices]
        guided = any(voice.is_guided for voice in voices)
        batch = self.batch(max(1, min(rows, len(texts))), guided=guided)
        return SynthesisBatch(batch, list(zip(texts, tasks, strict=True)))
