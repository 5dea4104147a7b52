"""When a turn ends, and what is done then: a preset that `--turn-policy` names, or a TOML file."""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ...models.options import TurnPolicy, check_parameters
from ...runtime.bundle.dataclass_json import parse, read_bounded
from ...runtime.errors import UsageError

WATCHDOG = 10.0


@dataclass(frozen=True)
class LivePolicy:
    """A policy of turns; with `flush` the last words of a turn are printed as soon as it ends.

    After `watchdog` seconds of speech without a word the model is restarted: 0 is never, None is
    `WATCHDOG`, or what the server does whose model is used."""

    turns: TurnPolicy
    flush: bool = False
    watchdog: float | None = None


PRESETS = {
    "quick": LivePolicy(TurnPolicy(hold=0.3)),
    "default": LivePolicy(TurnPolicy()),
    "patient": LivePolicy(TurnPolicy(hold=2.0)),
}


def turn_policy(name: str) -> LivePolicy:
    """Return the policy of a preset, or of a file with fields of `TurnPolicy` and `LivePolicy`.

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
    known = [field.name for field in (*fields(TurnPolicy), *fields(LivePolicy)[1:])]
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise UsageError(f"{path}: {unknown[0]} is unknown; use {', '.join(known)}")
    try:
        live = parse(LivePolicy, {**content, "turns": {}})
        policy = replace(live, turns=parse(TurnPolicy, content))
        check_parameters(watchdog=policy.watchdog)
        return policy
    except (ValueError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from None
