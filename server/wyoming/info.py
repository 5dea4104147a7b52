"""What Wyoming's clients are told that there is."""

import re

from ...models.families import Task
from ..registry import ServedModel
from ..voices import DEFAULT_VOICE
from ..web.context import Context
from ..web.status import PACKAGE, package_version
from .messages import Artifact, Attribution, Info, ListeningProgram, SpeakingProgram

KYUTAI = Attribution("Kyutai", "https://kyutai.org")
OURS = Attribution(PACKAGE, "https://pypi.org/project/kyutai-onnx/")
LANGUAGES = ("en", "fr", "de", "es", "it", "pt")


async def describe(context: Context) -> Info:
    """The models that write speech down, and the voices that speak."""
    version = package_version()
    listening, speaking = (
        [served for served in context.registry.all if served.family.task is task]
        for task in (Task.SPEECH_TO_TEXT, Task.TEXT_TO_SPEECH)
    )
    asr, tts = [], []
    if listening:
        models = tuple(_artifact(served.name, served, version) for served in listening)
        asr.append(ListeningProgram(PACKAGE, OURS, "Speech to text", version, models))
    if speaking:
        served = speaking[0]
        catalog = served.voices
        names = [voice.name for voice in await context.work(catalog.names)]
        usual = catalog.default or DEFAULT_VOICE
        ordered = dict.fromkeys([usual, *names])
        voices = tuple(_artifact(name, served, version) for name in ordered)
        tts.append(SpeakingProgram(PACKAGE, OURS, "Text to speech", version, voices))
    return Info(tuple(asr), tuple(tts))


def _artifact(name: str, served: ServedModel, version: str) -> Artifact:
    return Artifact(name, KYUTAI, f"{name} by {served.name}", version, languages_of(served))


def languages_of(served: ServedModel) -> tuple[str, ...]:
    """The languages that are in the name of a model, as Kyutai names its own; else English."""
    manifest = served.model.bundle.manifest
    words = re.split(r"[^a-z]+", f"{manifest.name} {manifest.source.repository}".lower())
    return tuple(language for language in LANGUAGES if language in words) or LANGUAGES[:1]
