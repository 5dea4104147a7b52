"""Live, with whichever model a bundle holds: words, a translation, a reply, a text that is said."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from ..models import Hibiki, Moshi, SpeechToText, TextToSpeech
from ..models.speech_stream import SpeechStream
from ..runtime.bundle import Bundle
from ..runtime.errors import AudioError, UsageError
from . import live_speech
from .caption import Caption
from .interpreting import Request, Session, resume
from .listening import listen
from .live_request import LiveRequest
from .stage import Stage
from .subtitle_file import check_ending


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
        family = bundle.manifest.family
        if family == "tts":
            self._speak(bundle, **loading)
            return
        self._refuse(voice=self.voices)
        if family == "stt":
            self._listen(bundle, **loading)
        elif family in ("hibiki", "moshi"):
            self._refuse_turns()
            self._interpret(self._open(bundle, **loading))
        else:
            raise UsageError(
                f"{bundle.path}: a {family} model neither listens nor speaks; give one for speech "
                "to text, text to speech, Hibiki or Moshi"
            )

    def _listen(self, bundle: Bundle, **loading: Unpack[Loading]) -> None:
        request = self.request
        self._refuse(
            save_output=request.save_output,
            cfg_coef=self.cfg_coef is not None,
            output_device=request.output_device,
            half_duplex=request.half_duplex,
        )
        listen(SpeechToText.load(bundle, **loading), request, self.temp, self.seed)

    def _speak(self, bundle: Bundle, **loading: Unpack[Loading]) -> None:
        request = self.request
        self._refuse_turns()
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
                "--disable-speaker: then nobody hears the text; give '--save-output' or '--words'"
            )
        live_speech.speak(
            TextToSpeech.load(bundle, **loading),
            request,
            self.voices,
            temperature=self.temp,
            seed=self.seed,
            cfg_coef=self.cfg_coef,
        )

    def _open(self, bundle: Bundle, **loading: Unpack[Loading]) -> SpeechStream:
        if bundle.manifest.family == "hibiki":
            return Hibiki.load(bundle, **loading).stream(
                cfg_coef=1.0 if self.cfg_coef is None else self.cfg_coef,
                temp=self.temp,
                temp_text=self.temp,
                seed=self.seed,
            )
        self._refuse(cfg_coef=self.cfg_coef is not None)
        return Moshi.load(bundle, **loading).stream(
            temp=self.temp, temp_text=self.temp, seed=self.seed
        )

    def _interpret(self, stream: SpeechStream) -> None:
        live = self.request
        if live.words is not None:
            check_ending(live.words)
        request = Request(
            audio=live.source,
            out=live.save_output,
            words=None,
            save_state=live.save_state,
            load_state=live.load_state,
            quiet=live.quiet,
        )
        resume(stream, request, self.seed, cfg_coef=self.cfg_coef, temp=self.temp)
        with Stage(live, stream.model.sample_rate, stream.model.frame_size) as stage:
            caption = Caption(live.kind, aside=live.save_output == "-", subtitles=live.words)
            session = Session(stream, request, caption, stage.play)
            try:
                session.run(stage.frames(), then=stage.last_words)
            except AudioError:
                if not stage.interrupted or stream.heard_seconds:
                    raise
            finally:
                session.end(None)

    def _refuse_turns(self) -> None:
        """Pauses and turns are speech to text's."""
        self._refuse(vad=self.request.vad, turn_flush=self.request.turn_flush)
        if self.request.policy is not None:
            raise UsageError("the --turn options: not with this model; leave them out")

    def _refuse(self, **options: object) -> None:
        for name, given in options.items():
            if given:
                raise UsageError(f"--{name.replace('_', '-')}: not with this model; leave it out")
