"""The machine's sound devices by PortAudio, through the package sounddevice.

Callbacks run on PortAudio's threads and must only copy.
"""

from collections.abc import Callable
from typing import Any, Protocol

from ...errors import AudioError
from ..pcm import Pcm
from ..stderr_filter import captured_stderr
from .devices import CALLED, Device, Direction

LATENCY = 0.1
"""Seconds that PortAudio buffers: short beside a model's delay, and long enough for a machine whose
processors are all at work."""

PORTAUDIO_PREFIXES: tuple[bytes, ...] = (
    b"ALSA lib",
    b"Expression '",
    b"Cannot connect to server",
    b"jack server",
)
"""How the lines begin that PortAudio and ALSA write to standard error if a device is missing."""

CaptureCallback = Callable[[Pcm, bool], None]
"""Takes a block [n, channels], valid until it returns, and whether the device lost sound before."""

PlaybackCallback = Callable[[Pcm], None]
"""Fills a block [n, channels]."""


class OpenDevice(Protocol):
    """A device that is running."""

    @property
    def latency(self) -> float:
        """Seconds between the air and a callback."""

    @property
    def ended(self) -> bool:
        """Whether it stopped by itself."""

    def close(self) -> None:
        """Stops it; does nothing the second time."""


class Card(Protocol):
    """What the live loop needs of the machine."""

    def devices(self) -> list[Device]:
        """What there is, as it was found at the start or by the last `rescan`."""

    def rescan(self) -> None:
        """Looks for devices again, while none is open."""

    def open_input(self, device: Device, take: CaptureCallback) -> OpenDevice:
        """Starts a microphone at its own rate; raises AudioError if it does not start."""

    def open_output(self, device: Device, fill: PlaybackCallback) -> OpenDevice:
        """Starts an output device at its own rate; raises AudioError if it does not start."""


class SoundCard:
    """`Card` by PortAudio; every device runs at its own rate, or at `rate`.

    Raises AudioError if sounddevice or PortAudio is not installed.
    """

    def __init__(self, rate: int | None = None) -> None:
        self._sounddevice = _load_sounddevice()
        self._rate = rate

    def devices(self) -> list[Device]:
        """See `Card.devices`."""
        hosts = self._sounddevice.query_hostapis()
        found = self._sounddevice.query_devices()
        return [_device(index, entry, hosts, self._rate) for index, entry in enumerate(found)]

    def rescan(self) -> None:
        """See `Card.rescan`: PortAudio looks for devices only when it starts."""
        with captured_stderr(PORTAUDIO_PREFIXES):
            self._sounddevice._terminate()  # noqa: SLF001
            self._sounddevice._initialize()  # noqa: SLF001

    def open_input(self, device: Device, take: CaptureCallback) -> OpenDevice:
        """See `Card.open_input`."""

        def callback(block: Pcm, _frames: int, _time: object, status: Any) -> None:
            take(block, bool(status.input_overflow))

        return self._open("input", device, callback)

    def open_output(self, device: Device, fill: PlaybackCallback) -> OpenDevice:
        """See `Card.open_output`."""

        def callback(block: Pcm, _frames: int, _time: object, _status: Any) -> None:
            fill(block)

        return self._open("output", device, callback)

    def _open(self, direction: Direction, device: Device, callback: Any) -> OpenDevice:
        make = getattr(self._sounddevice, f"{direction.capitalize()}Stream")
        settings = None
        if device.host == "Windows WASAPI":  # shared, it has one rate of its own
            settings = self._sounddevice.WasapiSettings(auto_convert=True)
        try:
            with captured_stderr(PORTAUDIO_PREFIXES):
                stream = make(
                    device=device.index,
                    samplerate=device.rate,
                    channels=min(device.channels(direction), 2),
                    dtype="float32",
                    latency=LATENCY,
                    extra_settings=settings,
                    callback=callback,
                )
                stream.start()
        except self._sounddevice.PortAudioError as error:
            raise AudioError(
                f"the {CALLED[direction]} {device} does not start ({error.args[0]}); see whether "
                "another program holds it, and whether this one may use it"
            ) from None
        return _PortAudioStream(stream)


class _PortAudioStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.latency = float(stream.latency)

    @property
    def ended(self) -> bool:
        return not self._stream.active

    def close(self) -> None:
        with captured_stderr(PORTAUDIO_PREFIXES):
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)


def _load_sounddevice() -> Any:
    try:
        with captured_stderr(PORTAUDIO_PREFIXES):
            import sounddevice
    except ImportError:
        raise AudioError(
            "sounddevice is not installed; run 'pip install \"kyutai-onnx[audio]\"'"
        ) from None
    except OSError:
        raise AudioError(
            "PortAudio is not installed; run 'apt-get install libportaudio2' (Debian, Ubuntu) or "
            "your system's equivalent"
        ) from None
    return sounddevice


def _device(index: int, entry: Any, hosts: Any, rate: int | None) -> Device:
    host = hosts[entry["hostapi"]]
    directions: tuple[Direction, ...] = ("input", "output")
    return Device(
        index,
        entry["name"],
        host["name"],
        entry["max_input_channels"],
        entry["max_output_channels"],
        rate or round(entry["default_samplerate"]),
        tuple(d for d in directions if host[f"default_{d}_device"] == index),
    )
