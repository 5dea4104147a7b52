"""From what a server is told to models that run: bundles found, loaded and given engines."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..models import Hibiki, Moshi, SpeechToText, TextToSpeech
from ..models.hub.resolve import exported_bundles, locate
from ..models.mimi.codec_cache import CodecCache
from ..models.model import Model
from ..models.tts.voice_prompt import CFG
from ..runtime.bundle.bundle import Bundle, read_manifest
from ..runtime.bundle.manifest import FILE_NAME
from ..runtime.errors import ModelError, UsageError
from .config import Bounds, ModelConfig, ServerConfig, Task
from .engine.engine import Engine
from .engine.limits import Limits
from .engine.statistics import Statistics
from .registry import ModelRegistry, ServedModel
from .voices import VoiceCatalog

FAMILIES: dict[Task, type[SpeechToText | TextToSpeech | Hibiki | Moshi]] = {
    "stt": SpeechToText,
    "tts": TextToSpeech,
    "hibiki": Hibiki,
    "moshi": Moshi,
}


def load_models(config: ServerConfig, note: Callable[[str], object]) -> ModelRegistry:
    """Every model with an engine that is not started yet; what was chosen for the user is noted.

    Raises ModelError for a bundle that is missing, damaged or for another task, ProviderError where
    it cannot run, UsageError for two of one name.
    """
    codecs = CodecCache()
    served: list[ServedModel] = []
    for wanted in config.served:
        one = _load(config, wanted, codecs, note)
        if any(one.name == other.name for other in served):
            raise UsageError(f"two models are called {one.name}: give each a name of its own")
        served.append(one)
    return ModelRegistry(served)


def limits_of(bounds: Bounds) -> Limits:
    """What of the server's limits an engine keeps."""
    return Limits(
        queue=bounds.queue,
        wait=bounds.wait,
        idle=bounds.idle,
        session=math.inf if bounds.session is None else bounds.session,
        stall=bounds.stall,
        backlog=bounds.backlog,
    )


def _load(
    config: ServerConfig, wanted: ModelConfig, codecs: CodecCache, note: Callable[[str], object]
) -> ServedModel:
    bundle = _bundle(wanted, note)
    task = _task(bundle, wanted)
    options: dict[str, Any] = {
        "provider": wanted.provider or config.provider,
        "threads": wanted.threads or config.threads,
        "allow_fallback": wanted.allow_fallback or config.allow_fallback,
        "codecs": codecs,
    }
    if task == "tts":
        options["codebooks"] = wanted.codebooks
    model = FAMILIES[task](bundle, **options)
    name = wanted.name or bundle.manifest.name
    slots = wanted.slots or config.slots
    cfg_coef, guided = _guidance(model, wanted)
    limits = limits_of(config.limits)
    engine = Engine(name, model, slots, limits, Statistics(), guided=guided)
    speakers = None
    if isinstance(model, TextToSpeech):
        speakers = VoiceCatalog(model, wanted.voice, hub=config.hub_voices)
        speakers.speaker(None, cfg_coef)
    return ServedModel(name, task, wanted, model, engine, speakers, cfg_coef, wanted.aliases)


def _guidance(model: Model, wanted: ModelConfig) -> tuple[float | None, bool]:
    """The guidance of those who ask for none, and whether streams may be guided at all."""
    by_table = CFG in model.language_model.spec.conditioners
    if not isinstance(model, TextToSpeech | Hibiki) or by_table:
        return wanted.cfg_coef, False
    if wanted.guided or wanted.cfg_coef not in (None, 1):
        return wanted.cfg_coef, True
    return 1.0, False


def _task(bundle: Bundle, wanted: ModelConfig) -> Task:
    family = bundle.manifest.family
    if family not in FAMILIES:
        raise ModelError(f"{bundle.path}: holds a {family} model, which has nothing to serve alone")
    task: Task = family
    if wanted.task not in (None, task):
        raise ModelError(f"{bundle.path}: holds a {task} model, not a {wanted.task} one")
    return task


def _bundle(wanted: ModelConfig, note: Callable[[str], object]) -> Bundle:
    """The bundle that is meant, of the precision that is wanted."""
    if wanted.precision is not None and wanted.model is not None:
        found = _candidates(wanted.model)
        fitting = [path for path in found if read_manifest(path).precision == wanted.precision]
        if not fitting:
            raise ModelError(
                f"{wanted.model}: no bundle of precision {wanted.precision}; make it with "
                f"'kyutai-onnx export --repo {wanted.model} --precision {wanted.precision}'"
            )
        return Bundle.open(max(fitting, key=lambda path: (path / FILE_NAME).stat().st_mtime))
    located = locate(wanted.model, wanted.task or "stt")
    if located.note:
        note(located.note)
    return Bundle.open(located.path)


def _candidates(name: str) -> list[Path]:
    folder = Path(name)
    return [folder] if (folder / FILE_NAME).is_file() else exported_bundles(name)
