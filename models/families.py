"""The registry of model families: what each reads and writes, what its streams take, its parts.

Commands, server and pages dispatch on these capabilities. The name of a family stands here, in the
manifest, and where `conversion` reads a checkpoint's own; no other layer knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from ..runtime.bundle.manifest import Family as FamilyName
from .options import (
    CodecOptions,
    ConversationOptions,
    SpeechOptions,
    SpeechToTextOptions,
    StreamOptions,
    TranslationOptions,
    parameters,
)

DEMO = Path(__file__).parent / "demo"
"""The folder of the embedded demos."""
SAMPLES = DEMO / "samples"
"""The recordings that go with them."""


class Modality(Enum):
    """What a model reads or writes."""

    AUDIO = "audio"
    TEXT = "text"


class Task(StrEnum):
    """What a family of models is for."""

    CODEC = "codec"
    SPEECH_TO_TEXT = "speech-to-text"
    TEXT_TO_SPEECH = "text-to-speech"
    SPEECH_TO_SPEECH = "speech-to-speech"


@dataclass(frozen=True)
class Demo:
    """The embedded demo: its folder, if there is one, and what the toy model knows; and the
    repository of Kyutai's own model for the task."""

    folder: str | None
    knows: str
    repository: str


@dataclass(frozen=True)
class Family:
    """One family. `options` is the class of the options of its streams, `socket` is the usual path
    of its websocket on a server, None if it has none."""

    name: FamilyName
    task: Task
    reads: frozenset[Modality]
    writes: frozenset[Modality]
    options: type[StreamOptions]
    demo: Demo
    socket: str | None
    home: str
    """Module and class of the model, below `kyutai_onnx.models`."""

    @property
    def model_class(self) -> Any:
        """The class of its models, imported when first asked for."""
        module, name = self.home.split(":")
        return getattr(import_module(f"..{module}", __name__), name)

    @property
    def reads_audio(self) -> bool:
        return Modality.AUDIO in self.reads

    @property
    def reads_text(self) -> bool:
        return Modality.TEXT in self.reads

    @property
    def writes_audio(self) -> bool:
        return Modality.AUDIO in self.writes

    @property
    def has_tail(self) -> bool:
        """Whether its streams speak on after the end of the audio, until all is said."""
        return "max_tail" in parameters(self.options)

    @property
    def translates(self) -> bool:
        """Whether its streams say in another language what they read."""
        return issubclass(self.options, TranslationOptions)

    @property
    def is_guided(self) -> bool:
        """Whether its streams take a coefficient of classifier-free guidance."""
        return "cfg_coef" in parameters(self.options)


AUDIO, TEXT = frozenset({Modality.AUDIO}), frozenset({Modality.TEXT})

SPEECH_TO_TEXT = Family(
    name="stt",
    task=Task.SPEECH_TO_TEXT,
    reads=AUDIO,
    writes=TEXT,
    options=SpeechToTextOptions,
    demo=Demo("stt", "knows spoken numbers, times and short commands", "kyutai/stt-1b-en_fr"),
    socket="/api/asr-streaming",
    home="stt.model:SpeechToText",
)
TEXT_TO_SPEECH = Family(
    name="tts",
    task=Task.TEXT_TO_SPEECH,
    reads=TEXT,
    writes=AUDIO,
    options=SpeechOptions,
    demo=Demo("tts", "says spoken numbers, times and short commands", "kyutai/tts-1.6b-en_fr"),
    socket="/api/tts_streaming",
    home="tts.model:TextToSpeech",
)
HIBIKI = Family(
    name="hibiki",
    task=Task.SPEECH_TO_SPEECH,
    reads=AUDIO,
    writes=AUDIO | TEXT,
    options=TranslationOptions,
    demo=Demo(
        "hibiki",
        "translates spoken French numbers under ten thousand to English",
        "kyutai/hibiki-1b-pytorch-bf16",
    ),
    socket="/api/chat",
    home="speech_to_speech.hibiki:Hibiki",
)
MOSHI = Family(
    name="moshi",
    task=Task.SPEECH_TO_SPEECH,
    reads=AUDIO,
    writes=AUDIO | TEXT,
    options=ConversationOptions,
    demo=Demo(None, "", "kyutai/moshiko-pytorch-bf16"),
    socket="/api/chat",
    home="speech_to_speech.moshi:Moshi",
)
MIMI = Family(
    name="mimi",
    task=Task.CODEC,
    reads=AUDIO,
    writes=AUDIO,
    options=CodecOptions,
    demo=SPEECH_TO_TEXT.demo,
    socket=None,
    home="mimi.model:Mimi",
)

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (SPEECH_TO_TEXT, TEXT_TO_SPEECH, HIBIKI, MOSHI, MIMI)
}
DEFAULT = SPEECH_TO_TEXT
"""The family whose embedded demo runs if no model is named."""
SERVED: Mapping[FamilyName, Family] = {
    family.name: family for family in FAMILIES.values() if family.socket is not None
}
"""Families that have streams, and that a server serves."""


def demo_names() -> list[str]:
    """The names of the embedded demos, as `--model` takes them."""
    folders = (family.demo.folder for family in FAMILIES.values())
    return [f"{DEMO.name}/{folder}" for folder in dict.fromkeys(folders) if folder]


def served_demos() -> list[FamilyName]:
    """The names of the families whose embedded demo a server serves without a configuration."""
    return [name for name, family in SERVED.items() if family.demo.folder is not None]
