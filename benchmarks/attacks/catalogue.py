"""The attacks by name, each a small function that registers itself."""

from collections.abc import Callable
from dataclasses import dataclass

from .target import Target

Run = Callable[[Target], None]


@dataclass(frozen=True)
class Attack:
    """`text` says in one line what it does. `server` names the settings of the server that it is
    for, one of `settings.SERVERS`."""

    name: str
    run: Run
    text: str
    server: str


ATTACKS: dict[str, Attack] = {}


def attack(server: str = "plain") -> Callable[[Run], Run]:
    """Register a function under its own name, described by its docstring."""

    def register(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        text = " ".join((run.__doc__ or "").split())
        ATTACKS[name] = Attack(name, run, text, server)
        return run

    return register
