"""Live listening with whichever model a bundle holds: words, a translation or a reply."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from ..models import Hibiki, Moshi, SpeechToText
from ..models.speech_stream import SpeechStream
from ..runtime.bundle import Bundle
from ..runtime.errors import UsageError
from .interpreting import Request, interpret, resume
from .listening import listen


class Loading(TypedDict):
    """Where a model runs."""

    provider: str
    threads: int | None
    allow_fallback: bool


@dataclass(frozen=True)
class Live:
    """What `stream` was asked for."""

    request: Request
    vad: bool
    temp: float | None
    seed: int | None
    cfg_coef: float | None

    def run(self, bundle: Bundle, **loading: Unpack[Loading]) -> None:
        """Plays the file in; raises UsageError for what the model is not made for."""
        family = bundle.manifest.family
        if family == "stt":
            self._refuse("save_output", self.request.out)
            self._refuse("cfg_coef", self.cfg_coef)
            listen(
                SpeechToText.load(bundle, **loading), self.request, self.vad, self.temp, self.seed
            )
            return
        self._refuse("vad", self.vad or None)
        if family == "hibiki":
            stream: SpeechStream = Hibiki.load(bundle, **loading).stream(
                cfg_coef=1.0 if self.cfg_coef is None else self.cfg_coef,
                temp=self.temp,
                temp_text=self.temp,
                seed=self.seed,
            )
        elif family == "moshi":
            self._refuse("cfg_coef", self.cfg_coef)
            stream = Moshi.load(bundle, **loading).stream(
                temp=self.temp, temp_text=self.temp, seed=self.seed
            )
        else:
            raise UsageError(
                f"{bundle.path}: a {family} model does not listen; give one for speech to text, "
                "Hibiki or Moshi"
            )
        resume(stream, self.request, self.seed, cfg_coef=self.cfg_coef, temp=self.temp)
        interpret(stream, self.request)

    def _refuse(self, option: str, given: object) -> None:
        if given is not None:
            said = option.replace("_", "-")
            raise UsageError(f"--{said}: not with this model; leave it out")
