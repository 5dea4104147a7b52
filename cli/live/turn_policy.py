"""When a turn ends, as `--turn-policy` names it: a preset, or a file of TOML."""

import dataclasses
import tomllib
from pathlib import Path

from ...models.stt.pauses import TurnPolicy
from ...runtime.bundle.dataclass_json import parse, read_bounded
from ...runtime.errors import UsageError

PRESETS = {
    "quick": TurnPolicy(hold=0.3),
    "default": TurnPolicy(),
    "patient": TurnPolicy(hold=2.0),
}


def turn_policy(name: str) -> TurnPolicy:
    """Return the policy of a preset, or of a file with fields of `TurnPolicy`.

    Raises UsageError for a file that cannot be read, unknown keys and values out of range.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    try:
        content = tomllib.loads(read_bounded(path).decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"--turn-policy {name}: cannot be read ({error.strerror}); give a file, or one of "
            f"{', '.join(PRESETS)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as TOML ({error})") from None
    known = [field.name for field in dataclasses.fields(TurnPolicy)]
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise UsageError(f"{path}: {unknown[0]} is unknown; use {', '.join(known)}")
    try:
        return parse(TurnPolicy, content)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from None
