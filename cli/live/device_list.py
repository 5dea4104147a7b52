"""The sound devices of this machine, as a table or as lines of JSON."""

from dataclasses import asdict

from ...runtime.audio.live import SoundCard
from ...runtime.audio.live.devices import CALLED, Device
from ..choices import LiveFormat
from ..messages import say
from ..output.live_output import line


def show_devices(kind: LiveFormat) -> None:
    """Prints them. Raises AudioError where nothing can look for them."""
    devices = SoundCard().devices()
    if kind is LiveFormat.JSONL:
        for device in devices:
            line({"type": "device", **asdict(device)})
    elif devices:
        print(table(devices))
    else:
        say("there is no sound device here: connect one, or start the system's sound server")


def table(devices: list[Device]) -> str:
    """A line a device, under a line of titles."""
    width = max(4, *(len(device.name) for device in devices))
    rows = [f"{'':>4}  {'name':{width}}  {'in':>3} {'out':>3} {'rate':>6}  system"]
    for device in devices:
        default = " and ".join(CALLED[direction] for direction in device.is_default)
        rows.append(
            f"{device.index:4}  {device.name:{width}}  {device.inputs:3} {device.outputs:3} "
            f"{device.rate:6}  {device.host}{f', its {default}' if default else ''}"
        )
    return "\n".join(rows)
