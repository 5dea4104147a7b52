"""Kyutai's streaming speech models on ONNX Runtime.

    import kyutai_onnx

    model = kyutai_onnx.SpeechToText.load()
    for word in model.transcribe("speech.wav"):
        print(word.start, word.text)

Every name of `kyutai_onnx.models` is here too, imported when it is first used.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import *  # noqa: F403

    __version__: str


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        value = metadata.version("kyutai-onnx")
    elif name in (models := import_module(".models", __name__)).__all__:
        value = getattr(models, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(["__version__", *import_module(".models", __name__).__all__])
