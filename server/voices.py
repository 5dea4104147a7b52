"""The voices of a served model: clients choose one by its name, and by nothing else."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..models.tts.model import TextToSpeech
from ..models.tts.voices import ListedVoice, Voice
from ..runtime.errors import UsageError

DEFAULT_VOICE = "default"
"""The name of the default voice, for protocols that must name one."""
USUAL_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
"""The voices of OpenAI, which its clients name by habit."""
KEPT = 1 << 30
"""Bytes of the prepared voices that are kept; one takes 164 MB with `tts-1.6b-en_fr`."""
FRESH = 300.0
"""Seconds for which a list of voices is kept."""


class UnknownVoice(UsageError):  # noqa: N818
    """A voice is not in the list."""


class VoiceCatalog:
    """List and prepare voices. Thread-safe; slow the first time that a voice is used, so not for an
    event loop.

    `default` is the voice without a choice, the model's own if None; `hub` offers the published
    voices besides the local ones. `usual` says what OpenAI's names mean; one that it leaves out
    means a voice of the list, always the same, or the default one if there is no list.
    """

    def __init__(
        self,
        model: TextToSpeech,
        default: str | None,
        *,
        hub: bool,
        usual: Mapping[str, str] | None = None,
    ) -> None:
        self._model, self._hub, self._aliases = model, hub, usual or {}
        self._lock = threading.Lock()
        self._ready: OrderedDict[tuple[str | None, float | None], Voice] = OrderedDict()
        self._listed: tuple[float, list[ListedVoice]] | None = None
        self.default = default if default is not None else self._usual()

    def names(self) -> Sequence[ListedVoice]:
        """The available voices."""
        with self._lock:
            now = time.monotonic()
            if self._listed is None or now - self._listed[0] > FRESH:
                self._listed = now, self._model.voices.listed(online=self._hub)[0]
            return self._listed[1]

    def prepare(self, voice: str | None, cfg_coef: float | None) -> Voice:
        """Return a voice by its name, or the default one. Raises UnknownVoice for a name that is
        not listed, UsageError for a coefficient that the model lacks."""
        if voice in USUAL_VOICES and not self._has(voice):
            voice = self.meaning(voice)
        if voice in ("", DEFAULT_VOICE):
            voice = None
        if voice is not None and voice != self.default and not self._has(voice):
            raise UnknownVoice(
                f"no voice {voice[:100]!r} here; /api/voices lists the available ones"
            )
        key = voice or self.default, cfg_coef
        with self._lock:
            if key in self._ready:
                self._ready.move_to_end(key)
                return self._ready[key]
        made = self._model.prime(self._model.load_voice(key[0], cfg_coef))
        with self._lock:
            self._ready[key] = made
            while len(self._ready) > 1 and sum(s.nbytes for s in self._ready.values()) > KEPT:
                self._ready.popitem(last=False)
        return made

    def meaning(self, usual: str) -> str | None:
        """Return the voice that one of `USUAL_VOICES` means; None is the default one."""
        if usual in self._aliases:
            return self._aliases[usual]
        names = sorted(voice.name for voice in self.names())
        return names[USUAL_VOICES.index(usual) % len(names)] if names else None

    def from_embedding(self, embedding: NDArray[np.float32], cfg_coef: float | None) -> Voice:
        """Return the voice of a client's embedding, float32 `[frames, dim]`. Raises UsageError if
        the model takes none, or none of that shape."""
        return self._model.voice_loader.from_embedding(embedding, cfg_coef)

    def _has(self, voice: str) -> bool:
        return any(known.name == voice for known in self.names())

    def _usual(self) -> str | None:
        """Return the model's default if it is local: nothing is downloaded unasked."""
        usual = self._model.voices.default
        return usual if usual is not None and self._has(usual) else None
