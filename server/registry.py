"""The models that are served: loaded, each with its engine and its voices, and found by name."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models import TextToSpeech
from ..models.batch import Row
from ..models.families import DEFAULT, FAMILIES, SERVED, Family, Task
from ..models.mimi.model import CodecCache
from ..models.model import Model
from ..models.resolve import Progress, Wanted, is_demo, locate, open_folder
from ..models.tts.voices import CFG
from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import ModelError, UsageError
from .config import ModelConfig, ServerConfig
from .engine.engine import Engine
from .engine.statistics import Statistics
from .voices import VoiceCatalog

USUAL_TRANSCRIBERS = (
    "whisper-",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-transcribe",
    "gpt-live-transcribe",
)
USUAL_CONVERSERS = ("gpt-realtime", "gpt-4o-realtime", "gpt-4o-mini-realtime", "gpt-audio")
USUAL_NAMES = {
    Task.SPEECH_TO_TEXT: (*USUAL_TRANSCRIBERS, *USUAL_CONVERSERS),
    Task.TEXT_TO_SPEECH: ("tts-", "gpt-4o-mini-tts", "gpt-4o-tts", *USUAL_CONVERSERS),
}
"""How the models of OpenAI are named that its clients ask for by default; such a name means the
first model of the task, unless another model has it."""


LANGUAGES = ("en", "fr", "de", "es", "it", "pt")
"""Codes of ISO 639-1 that may stand in the name of a model."""


class UnknownModel(LookupError):  # noqa: N818
    """No served model has the name, or is for the task."""


@dataclass(frozen=True)
class ServedModel:
    """One model. `voice_catalog` is None unless it speaks texts; `cfg_coef` is the guidance of
    sessions that choose none."""

    name: str
    family: Family
    config: ModelConfig
    model: Model
    engine: Engine
    voice_catalog: VoiceCatalog | None = None
    cfg_coef: float | None = None
    aliases: tuple[str, ...] = ()
    since: int = field(default_factory=lambda: int(time.time()))

    @property
    def path(self) -> str:
        """The path of its websocket."""
        return self.config.path or self.family.socket or ""

    @property
    def languages(self) -> list[str]:
        """The languages that are in the name of the model or its repository, as Kyutai names its
        own."""
        manifest = self.model.bundle.manifest
        words = re.split(r"[^a-z]+", f"{manifest.name} {manifest.source.repository}".lower())
        return [language for language in LANGUAGES if language in words]

    @property
    def about(self) -> dict[str, Any]:
        """What our own clients need: `has_tail` says whether speech goes on after the end of the
        audio, `lead` is the silence, in seconds, before audio that is transcribed, `delay` by how
        much its text lags behind, `demo` what an embedded demo knows."""
        model, manifest = self.model, self.model.bundle.manifest
        stt = manifest.stt
        return {
            "family": self.family.name,
            "task": self.family.task,
            "has_tail": self.family.has_tail,
            "path": self.path,
            "languages": self.languages,
            "demo": self.family.demo.knows if is_demo(model.bundle.path) else None,
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

    @property
    def voices(self) -> VoiceCatalog:
        """The voices of a model that speaks texts."""
        assert self.voice_catalog is not None
        return self.voice_catalog

    def join(self, batch: Any, **given: Any) -> Row[Any]:
        """Join a batch on the engine's thread; `given` are arguments of the model's `task`."""
        row: Row[Any] = batch.join(self.model.task(**given))
        return row

    def options(self, **asked: object) -> Any:
        """Return the options of a stream: as a client asked, or else as the server is configured.
        Raises UsageError for a value out of range."""
        config, kind = self.config, self.family.options
        own = {**vars(config), "text_temperature": config.temperature, "live": True}
        chosen = own | {"cfg_coef": self.cfg_coef} | asked
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: chosen[name] for name in names if chosen.get(name) is not None})


class ModelRegistry:
    """All served models, in their order."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self.all: Sequence[ServedModel] = tuple(served)

    def find(self, task: Task, name: str | None) -> ServedModel:
        """Return the model of that name, or without one the first model, among those for a task;
        raises UnknownModel, naming the available ones."""
        fitting = [served for served in self.all if served.family.task is task]
        return _named(fitting, name, USUAL_NAMES.get(task, ()))

    def named(self, name: str) -> ServedModel:
        """Return the model that answers to a name, for any task; raises UnknownModel."""
        if (found := _with_name(self.all, name)) is not None:
            return found
        for task, usual in USUAL_NAMES.items():
            if name.startswith(usual) and any(one.family.task is task for one in self.all):
                return self.find(task, name)
        raise UnknownModel(f"no model {name[:80]!r} here; /v1/models lists the available ones")

    def find_translator(self, name: str | None) -> ServedModel:
        """Return the model of that name, or the first model, among those that translate; raises
        UnknownModel."""
        fitting = [served for served in self.all if served.family.translates]
        if not fitting:
            known = next(each.demo.repository for each in SERVED.values() if each.translates)
            raise UnknownModel(f"no model here translates; serve one, such as {known}")
        return _named(fitting, name, USUAL_TRANSCRIBERS)

    def at(self, path: str, task: Task, name: str | None) -> ServedModel:
        """Return the model of that name, or without one the model whose websocket has this path, or
        the first one; raises as `find` does."""
        for served in self.all:
            if not name and served.config.path == path and served.family.task is task:
                return served
        return self.find(task, name)


def _with_name(among: Iterable[ServedModel], name: str | None) -> ServedModel | None:
    return next((served for served in among if name in (served.name, *served.aliases)), None)


def _named(fitting: Sequence[ServedModel], name: str | None, usual: tuple[str, ...]) -> ServedModel:
    if not name and fitting:
        return fitting[0]
    if (found := _with_name(fitting, name)) is not None:
        return found
    if fitting and name and name.startswith(usual):
        return fitting[0]
    known = ", ".join(served.name for served in fitting) or "none of its kind"
    raise UnknownModel(f"no model {(name or '')[:80]!r} here; there is {known}")


def load_models(
    config: ServerConfig,
    note: Callable[[str], object],
    progress: Progress = lambda *_: None,
) -> ModelRegistry:
    """Load every model, with an engine that is not started yet; `note` gets what was chosen for the
    user, `progress` how far a repository is that is used for the first time.

    Raises ModelError for a bundle that is missing, damaged or for another task, ProviderError if it
    cannot run, UsageError for two models of one name, or of two tasks and one path.
    """
    codecs = CodecCache()
    served: list[ServedModel] = []
    for wanted in config.served:
        one = _load(config, wanted, codecs, _bundle(config, wanted, note, progress))
        if any(one.name == other.name for other in served):
            raise UsageError(f"two models have the name {one.name}: give each a different one")
        for other in served:
            if one.path == other.path and one.family.task is not other.family.task:
                raise UsageError(
                    f"path {one.path!r} is of {one.name} and of {other.name}: give one another path"
                )
        served.append(one)
    return ModelRegistry(served)


def _load(
    config: ServerConfig, wanted: ModelConfig, codecs: CodecCache, bundle: Bundle
) -> ServedModel:
    family = _family(bundle, wanted)
    options: dict[str, Any] = {
        "provider": wanted.provider or config.provider,
        "threads": wanted.threads or config.threads,
        "allow_fallback": wanted.allow_fallback or config.allow_fallback,
        "codecs": codecs,
    }
    if family.reads_text:
        options["codebooks"] = wanted.codebooks
    model = family.model_class(bundle, **options)
    name = wanted.name or bundle.manifest.name
    slots = wanted.slots or config.slots
    cfg_coef, guided = _guidance(model, wanted)
    engine = Engine(name, model, slots, config.limits, Statistics(), guided=guided)
    voices = None
    if isinstance(model, TextToSpeech):
        voices = VoiceCatalog(model, wanted.voice, hub=config.hub_voices, usual=wanted.usual_voices)
        voices.prepare(None, cfg_coef)
    return ServedModel(name, family, wanted, model, engine, voices, cfg_coef, wanted.aliases)


def _guidance(model: Model, wanted: ModelConfig) -> tuple[float | None, bool]:
    """Return the guidance of sessions that choose none, and whether streams may be guided at
    all."""
    by_table = CFG in model.language_model.spec.conditioners
    if not model.family.is_guided or by_table:
        return wanted.cfg_coef, False
    if wanted.guided or wanted.cfg_coef not in (None, 1):
        return wanted.cfg_coef, True
    return 1.0, False


def _family(bundle: Bundle, wanted: ModelConfig) -> Family:
    family = FAMILIES[bundle.manifest.family]
    if family.socket is None:
        raise ModelError(
            f"{bundle.path}: holds a {family.name} model, which cannot be served alone"
        )
    if wanted.task not in (None, family.name):
        raise ModelError(f"{bundle.path}: holds a {family.name} model, not a {wanted.task} one")
    return family


def _bundle(
    config: ServerConfig,
    wanted: ModelConfig,
    note: Callable[[str], object],
    progress: Progress,
) -> Bundle:
    """Return the bundle of the configured precision; raises ModelError for one of another."""
    family = FAMILIES[wanted.task] if wanted.task else None
    chosen = Wanted(
        precision=wanted.precision,
        provider=wanted.provider or config.provider,
        only=family,
        note=note,
        progress=progress,
    )
    located = locate(wanted.model, family or DEFAULT, chosen)
    bundle = open_folder(located.path)
    found = bundle.manifest.precision
    if wanted.precision not in (None, found):
        raise ModelError(
            f"{bundle.path}: is in {found}, not in {wanted.precision}; give its repository, or "
            "leave out the precision"
        )
    if located.note:
        note(located.note)
    return bundle
