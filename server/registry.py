"""A model that is served: what it is called, its engine, and the voices it has."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.model import Model
from ..models.tts.speech_options import SpeechKwargs, SpeechOptions
from .config import ModelConfig, Task
from .engine.engine import Engine
from .voices import VoiceCatalog

USUAL_ALIASES = {"stt": ("whisper-1",), "tts": ("tts-1",)}
"""What OpenAI's clients call a model of a task where they are told no name; it is the first one's
unless another one has it."""

PATHS: dict[Task, str] = {
    "stt": "/api/asr-streaming",
    "tts": "/api/tts_streaming",
    "hibiki": "/api/chat",
    "moshi": "/api/chat",
}
"""The usual path of each task's websocket."""


class UnknownModel(LookupError):  # noqa: N818
    """No model that is served has the name, or is for the task."""


@dataclass(frozen=True)
class ServedModel:
    """One model. `speakers` is there where it speaks texts; `cfg_coef` is the guidance of those
    who ask for none."""

    name: str
    task: Task
    config: ModelConfig
    model: Model
    engine: Engine
    speakers: VoiceCatalog | None = None
    cfg_coef: float | None = None
    aliases: tuple[str, ...] = ()
    since: int = field(default_factory=lambda: int(time.time()))

    @property
    def path(self) -> str:
        """Where its websocket is."""
        return self.config.path or PATHS[self.task]

    @property
    def about(self) -> dict[str, Any]:
        """What our own clients want to know: `lead` is the silence, in seconds, that comes before
        audio that is transcribed, `delay` by how much its text lags behind."""
        model, manifest = self.model, self.model.bundle.manifest
        stt = manifest.stt
        return {
            "family": self.task,
            "path": self.path,
            "slots": self.engine.slots,
            "precision": manifest.precision,
            "sample_rate": model.sample_rate,
            "frame_size": model.frame_size,
            "greedy": not (model.sampling.temp or model.sampling.temp_text)
            if self.config.temperature is None
            else self.config.temperature == 0,
            "heads": model.language_model.spec.extra_heads,
            "lead": stt.audio_silence_prefix_seconds if stt else 0.0,
            "delay": stt.audio_delay_seconds if stt else 0.0,
        }

    def manner(self, **given: object) -> SpeechOptions:
        """How a text is spoken: what a client gave, or else what the server was told."""
        config = self.config
        told: SpeechKwargs = {}
        for name in SpeechKwargs.__annotations__:
            own = self.cfg_coef if name == "cfg_coef" else getattr(config, name, None)
            value = given.get(name, own)
            if value is not None:
                told[name] = value  # type: ignore[literal-required]
        return SpeechOptions(**told)


class ModelRegistry:
    """All models that are served, in their order."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self.all: Sequence[ServedModel] = tuple(served)

    def find(self, tasks: Sequence[Task], name: str | None) -> ServedModel:
        """The model of that name, or the first one, among those of some tasks; raises
        UnknownModel, telling those that there are."""
        fitting = [served for served in self.all if served.task in tasks]
        if not name and fitting:
            return fitting[0]
        for served in fitting:
            if name in (served.name, *served.aliases):
                return served
        for served in fitting:
            if name in USUAL_ALIASES.get(served.task, ()):
                return served
        known = ", ".join(served.name for served in fitting) or "none of its kind"
        raise UnknownModel(f"no model {(name or '')[:80]!r} here; there is {known}")

    def at(self, path: str, tasks: Sequence[Task], name: str | None) -> ServedModel:
        """The model of that name, or without one that whose websocket has this path, or the first
        one; raises as `find` does."""
        for served in self.all:
            if not name and served.config.path == path and served.task in tasks:
                return served
        return self.find(tasks, name)
