"""The model that a command was given: loaded here, or found on a server."""

import importlib.util
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.families import DEFAULT, Family
from ..models.resolve import Wanted, locate, open_folder
from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import UsageError
from .files import protect_folder
from .messages import print_note, progress_bar
from .options import ChosenModel, ModelOptions, ServerOptions

if TYPE_CHECKING:
    from ..models import SpeechToText
    from ..runtime.audio import AudioSource
    from ..server.client import RemoteServer, RemoteSpeechToText


def load(family: Family, given: ModelOptions, *, quiet: bool, **more: Any) -> Any:
    """Load a model of a family, or the codec of any bundle; prints which one was chosen."""
    bundle = open_model(given, quiet, family)
    return family.model_class.load(bundle, **given.loading, **more)


def open_model(given: ChosenModel, quiet: bool, family: Family | None = None) -> Bundle:
    """Open the bundle that the command line names, or the demo of a family; prints its choice.

    A repository without a bundle is downloaded and converted, if it is of the family that is asked
    for.
    """
    with progress_bar(quiet=quiet) as progress:
        wanted = Wanted(
            precision=None if given.precision is None else given.precision.value,
            provider=given.made_for,
            only=family,
            offline=given.offline,
            note=partial(print_note, quiet=quiet),
            progress=progress,
        )
        located = locate(given.model, family or DEFAULT, wanted)
    if located.note:
        print_note(located.note, quiet=quiet)
    protect_folder(located.path)
    return open_folder(located.path)


def check_voices(bundle: Bundle, voices: Iterable[str]) -> None:
    """Raise an error for a voice that a model of text to speech does not have or cannot take."""
    if bundle.manifest.tts is None:
        return
    from ..models.tts.voices import Voices

    known = Voices(bundle)
    for voice in dict.fromkeys(voices):
        known.check(voice)


def connect(given: ServerOptions) -> "RemoteServer":
    """Return the server that the command line names, to be closed after use.

    Raises UsageError for an invalid URL or fingerprint, and for a missing package.
    """
    require("serve", "av", "msgspec", "websockets")
    from ..server.client import RemoteServer
    from ..server.config import read_keys

    assert given.server is not None
    key = None if given.api_key is None else read_keys([given.api_key])[0]
    return RemoteServer(given.server, key, tls_fingerprint=given.tls_fingerprint)


def require(extra: str, *packages: str) -> None:
    """Raise UsageError, with the command to install it, if a package of an extra is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"not installed: {', '.join(missing)}; run 'pip install \"kyutai-onnx[{extra}]\"'"
        )


def require_pauses(model: "SpeechToText | RemoteSpeechToText") -> None:
    """Raise UsageError if a model cannot report pauses."""
    if not model.has_pauses:
        raise UsageError(
            f"--vad: {model.name} has no pause heads; export it again with "
            "'--extra-heads REPO', such as kyutai/stt-1b-en_fr-candle"
        )


def read_whole(source: "AudioSource", sample_rate: int) -> np.ndarray[Any, Any]:
    """Read a short file: float32 `[n]` at `sample_rate`."""
    from ..runtime.audio import read_audio

    return np.concatenate(list(read_audio(source, sample_rate)))
