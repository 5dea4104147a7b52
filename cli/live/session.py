"""Live, with whichever model a bundle holds: words, a translation, a reply, a text that is said."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ...models import SpeechToText, TextToSpeech
from ...models.families import FAMILIES, Family, Task
from ...models.speech.stream import SpeechStream
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import AudioError, UsageError
from ..output.caption import Caption
from ..output.subtitles import check_ending
from ..remote import refuse
from ..shapes import Speaking, TalkingStream
from ..transcription import require_pauses
from ..translation import Request, Session, resume
from . import tts_session
from .live_audio import LiveAudio
from .request import LiveRequest
from .stt_session import hear, listen

if TYPE_CHECKING:
    from ...server.client import RemoteServer


class Loading(TypedDict):
    """Where a model runs."""

    provider: str
    threads: int | None
    allow_fallback: bool


@dataclass(frozen=True)
class Live:
    """What `stream` was asked for, and how the model is to generate."""

    request: LiveRequest
    voices: tuple[str, ...]
    temp: float | None
    seed: int | None
    cfg_coef: float | None

    def run(self, bundle: Bundle, **loading: Unpack[Loading]) -> None:
        """Goes on until the sound or the text ends, or somebody interrupts.

        Raises UsageError for what the model is not made for.
        """
        family = FAMILIES[bundle.manifest.family]
        self._check(family, str(bundle.path))
        if family.task is Task.SPEECH_TO_TEXT:
            listen(SpeechToText.load(bundle, **loading), self.request, self.temp, self.seed)
        elif family.task is Task.TEXT_TO_SPEECH:
            self._speak(TextToSpeech.load(bundle, **loading))
        else:
            stream = self._open(bundle, **loading)
            saved, temp = self._as_recording, self.temp
            resume(stream, saved, self.seed, cfg_coef=self.cfg_coef, temp=temp)
            self._interpret(stream)

    def run_there(self, server: "RemoteServer", name: str | None) -> None:
        """The same with a model of a server, the first one unless it is named; raises ServerError
        where that is not to be had, ModelError where it has no such model."""
        request = self.request
        info = server.find(name=name)
        self._check(FAMILIES[info.family], info.id)
        if info.task is Task.SPEECH_TO_TEXT:
            model = server.speech_to_text(info.id)
            if request.vad:
                require_pauses(model)
            stream = model.stream(temperature=self.temp, seed=self.seed, policy=request.policy)
            hear(model, stream, request)
        elif info.task is Task.TEXT_TO_SPEECH:
            self._speak(server.text_to_speech(info.id))
        else:
            refuse(cfg_coef=self.cfg_coef, words=request.words)
            chat = server.chat(info.id)
            self._interpret(
                chat.stream(temperature=self.temp, text_temperature=self.temp, seed=self.seed)
            )

    def _check(self, family: Family, where: str) -> None:
        """Raises UsageError for options that are not a family's."""
        request = self.request
        if family.task is Task.CODEC:
            raise UsageError(
                f"{where}: a {family.name} model neither listens nor speaks; give one for speech "
                "to text, text to speech, Hibiki or Moshi"
            )
        if not family.reads_text:
            self._refuse(voice=self.voices)
        if not family.reads_text and request.words is not None:
            check_ending(request.words)
        if family.task is not Task.SPEECH_TO_TEXT:
            self._refuse_turns()
        if not family.is_guided:
            self._refuse(cfg_coef=self.cfg_coef is not None)
        if not family.writes_audio:
            self._refuse(
                save_output=request.save_output,
                output_device=request.output_device,
                half_duplex=request.half_duplex,
            )
        elif not family.reads_audio:
            self._refuse(
                input_device=request.input_device,
                save_input=request.save_input,
                half_duplex=request.half_duplex,
                rate=request.rate != 1,
                channel=request.channel is not None,
                save_state=request.save_state,
                load_state=request.load_state,
            )
            if request.disable_speaker and not (request.save_output or request.words):
                raise UsageError(
                    "--disable-speaker: then nobody hears the text; give '--save-output' or "
                    "'--words'"
                )

    def _speak(self, model: Speaking) -> None:
        tts_session.speak(
            model,
            self.request,
            self.voices,
            temperature=self.temp,
            seed=self.seed,
            cfg_coef=self.cfg_coef,
        )

    def _open(self, bundle: Bundle, **loading: Unpack[Loading]) -> SpeechStream:
        family = FAMILIES[bundle.manifest.family]
        given: dict[str, Any] = {
            "temperature": self.temp,
            "text_temperature": self.temp,
            "seed": self.seed,
        }
        if family.is_guided:
            given["cfg_coef"] = 1.0 if self.cfg_coef is None else self.cfg_coef
        stream: SpeechStream = family.model_class.load(bundle, **loading).stream(**given)
        return stream

    @property
    def _as_recording(self) -> Request:
        live = self.request
        return Request(
            audio=live.source,
            out=live.save_output,
            words=None,
            save_state=live.save_state,
            load_state=live.load_state,
            quiet=live.quiet,
        )

    def _interpret(self, stream: TalkingStream) -> None:
        live = self.request
        with LiveAudio(live, stream.model.sample_rate, stream.model.frame_size) as stage:
            caption = Caption(live.kind, aside=live.save_output == "-", subtitles=live.words)
            session = Session(stream, self._as_recording, caption, stage.play)
            try:
                session.run(stage.frames(), then=stage.last_words)
            except AudioError:
                if not stage.interrupted or stream.heard_seconds:
                    raise
            finally:
                session.end(None)
        if session.failure is not None:
            raise session.failure

    def _refuse_turns(self) -> None:
        """Pauses and turns are speech to text's."""
        self._refuse(vad=self.request.vad, turn_flush=self.request.turn_flush)
        if self.request.policy is not None:
            raise UsageError("--turn-policy: not with this model; leave it out")

    def _refuse(self, **options: object) -> None:
        for name, given in options.items():
            if given:
                raise UsageError(f"--{name.replace('_', '-')}: not with this model; leave it out")
