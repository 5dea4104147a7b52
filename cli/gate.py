"""The quality gate of `export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.families import FAMILIES, Task
from ..models.hub.resolve import SAMPLES
from ..runtime.audio import Pcm
from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import ProviderError, QualityError, UsageError
from .load import read_whole
from .messages import say

if TYPE_CHECKING:
    from ..export.checkpoint.checkpoint import Checkpoint


def hear_recordings(checkpoint: "Checkpoint", files: Sequence[Path]) -> list[Pcm]:
    """Recordings at the codec's rate; raises AudioError where one cannot be read, UsageError where
    the model does not transcribe."""
    if FAMILIES[checkpoint.family].task is not Task.SPEECH_TO_TEXT:
        raise UsageError(
            f"--gate-audio checks speech-to-text, this model is of the family {checkpoint.family}; "
            "leave it out"
        )
    rate = checkpoint.mimi_config.sample_rate
    return [read_whole(file, rate) for file in files]


def pass_gate(
    folder: Path, checkpoint: "Checkpoint", recordings: Sequence[Pcm], *, quiet: bool
) -> None:
    """Checks a speech-to-text bundle of lower precision than fp32 on recordings, those of the demo
    unless others are given. What cannot be judged is noted.

    Raises QualityError where it does not hear what its checkpoint hears; the bundle stays.
    """
    from ..export.verification.gate import is_exact, judge

    bundle = Bundle.open(folder)
    if FAMILIES[bundle.manifest.family].task is not Task.SPEECH_TO_TEXT or is_exact(bundle):
        return
    samples = sorted(file for file in SAMPLES.iterdir() if file.suffix in (".wav", ".flac"))
    recordings = recordings or hear_recordings(checkpoint, samples)
    try:
        verdict = judge(bundle, checkpoint, recordings)
    except (ProviderError, UsageError) as error:
        say(f"quality not checked: {error}", quiet=quiet)
        return
    if not verdict.understands:
        say(
            "quality not checked: even in fp32 this checkpoint does not understand the recordings; "
            "give others with '--gate-audio'",
            quiet=quiet,
        )
    elif verdict.passes:
        say(f"quality: {verdict}", quiet=quiet)
    else:
        raise QualityError(
            f"{folder}: {verdict}; choose a higher --precision, or accept it with '--no-gate'"
        )
