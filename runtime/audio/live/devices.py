"""Which sound devices there are, and which one a person means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import AudioError, UsageError

Direction = Literal["input", "output"]
CALLED = {"input": "microphone", "output": "output device"}
HOSTS = (
    "Windows WASAPI",
    "Core Audio",
    "PulseAudio",
    "ALSA",
    "JACK Audio Connection Kit",
    "Windows DirectSound",
    "MME",
)
"""PortAudio's host APIs, the preferred ones first: Windows shows each device once in every one."""


@dataclass(frozen=True)
class Device:
    """A sound device: its number and name, PortAudio's host API that it is of, how many channels it
    takes in and puts out, and its own rate in Hz. `is_default` names the directions for which it is
    the host API's own choice."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    rate: int
    is_default: tuple[Direction, ...] = ()

    def channels(self, direction: Direction) -> int:
        """How many it has in a direction."""
        return self.inputs if direction == "input" else self.outputs

    def __str__(self) -> str:
        return f"{self.index} {self.name}"


def choose_device(devices: Sequence[Device], wanted: str | None, direction: Direction) -> Device:
    """The device whose number is `wanted`, or whose name is or contains it, in any case; by default
    the system's own.

    If one name stands in several host APIs, the preferred one counts. Raises UsageError, listing
    them, if several match, and AudioError, listing the available ones, if none does.
    """
    able = [device for device in devices if device.channels(direction)]
    if not able:
        raise AudioError(f"there is no {CALLED[direction]} here{_instead(devices)}")
    if wanted is None:
        return _default(able, direction)
    found = _matching(able, wanted)
    if not found:
        raise AudioError(
            f"no {direction} device {wanted!r}; there {_are(able)} {_listed(able)} "
            "(see '--list-devices')"
        )
    if len(found) > 1:
        raise UsageError(
            f"{wanted!r} means several {direction} devices: {_listed(found)}; give more of the "
            "name, or the number"
        )
    return found[0]


def _default(able: Sequence[Device], direction: Direction) -> Device:
    own = [device for device in able if direction in device.is_default]
    if not own:
        raise AudioError(
            f"the system has no default {CALLED[direction]}; name one by '--{direction}-device': "
            f"{_listed(able)}"
        )
    return min(own, key=_rank)


def _matching(able: Sequence[Device], wanted: str) -> list[Device]:
    if wanted.isascii() and wanted.isdigit():
        return [device for device in able if device.index == int(wanted)]
    text = wanted.casefold()
    found = [device for device in able if device.name.casefold() == text]
    found = found or [device for device in able if text in device.name.casefold()]
    best = min(map(_rank, found), default=0)
    return [device for device in found if _rank(device) == best]


def _rank(device: Device) -> int:
    return HOSTS.index(device.host) if device.host in HOSTS else len(HOSTS)


def _are(devices: Sequence[Device]) -> str:
    return "is" if len(devices) == 1 else "are"


def _listed(devices: Sequence[Device]) -> str:
    return ", ".join(map(str, devices))


def _instead(devices: Sequence[Device]) -> str:
    if not devices:
        return ": connect one, or start the system's sound server"
    return f", only {_listed(devices)}"
