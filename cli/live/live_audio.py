"""The audio of one `stream`: where it comes from, where it goes, and how it went.

The calling thread works on the audio. PortAudio's own threads copy it; one more looks after the
devices.
"""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np

from ...runtime.audio import AudioWriter, Pcm, cut_frames, read_audio
from ...runtime.audio.live import Clock, Frame, LiveSound, Meter, SoundCard, WallClock
from ...runtime.audio.live.devices import CALLED, Device, choose_device
from ...runtime.audio.live.meter import RunningStats
from ...runtime.audio.live.sound_card import PORTAUDIO_PREFIXES
from ...runtime.audio.pcm import Dither
from ...runtime.audio.stderr_filter import filtered_stderr
from ...runtime.errors import AudioError, UsageError
from ..messages import print_note
from ..option_values import LiveFormat
from ..options import LiveOptions, refuse
from ..output.live_output import line
from ..process import ENDINGS, ended_by
from ..text_input import ticking
from .turn_policy import LivePolicy

TICK_SECONDS = 0.2
TEXT_TICK_SECONDS = 0.08
NO_DEVICE = "none"
"""The output device that plays nothing."""

Figures = dict[str, float]


@dataclass(frozen=True)
class LiveRequest:
    """What `stream` was asked for.

    Without an input file the microphone is read; `rate` is how much faster than its own pace a file
    is read. `voices` and `options` are for the model.
    """

    input_file: str | None = None
    input_device: str | None = None
    output_device: str | None = None
    half_duplex: bool = False
    save_input: str | None = None
    save_output: str | None = None
    channel: int | None = None
    rate: float = 1.0
    words: Path | None = None
    kind: LiveFormat = LiveFormat.TEXT
    vad: bool = False
    policy: LivePolicy | None = None
    save_state: Path | None = None
    load_state: Path | None = None
    voices: tuple[str, ...] = ()
    options: LiveOptions = field(default_factory=LiveOptions)
    quiet: bool = False

    @property
    def source(self) -> str:
        """The input as messages name it."""
        return self.input_file or "the microphone"

    @property
    def is_silent(self) -> bool:
        """Whether no output device is to play."""
        return self.output_device == NO_DEVICE

    @property
    def may_speak(self) -> bool:
        """Whether speech of the model is played."""
        return not self.is_silent and self.rate == 1

    @property
    def needs_output_device(self) -> bool:
        """Whether a missing output device is an error: the speech has no file to go to, or the
        device was named."""
        return self.save_output is None or self.output_device is not None

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        if self.input_file is not None:
            refuse(
                "not with --input-file; leave one of them out",
                input_device=self.input_device,
                half_duplex=self.half_duplex,
            )
        elif self.rate != 1:
            raise UsageError("--rate is for --input-file; a microphone has its own pace")
        if self.is_silent:
            refuse(
                f"not with --output-device {NO_DEVICE}; leave one of them out",
                half_duplex=self.half_duplex,
            )
        elif self.rate != 1:
            refuse(
                f"not with --rate {self.rate:g}; leave one of them out",
                output_device=self.output_device,
            )
        if self.save_input == "-":
            raise UsageError("--save-input: standard output is for text; name a file")


class LiveAudio:
    """The devices and files of a request, open inside a `with` block.

    `reads_audio` is False for text to speech, `speaks` is False for speech to text. Statistics are
    printed at the end. Raises AudioError and UsageError for what cannot be opened.

    The first interrupt ends the audio of a microphone; what is left is finished, and
    KeyboardInterrupt raised at the end. SIGTERM and a closed terminal count as interrupts.
    """

    def __init__(
        self,
        request: LiveRequest,
        rate: int,
        frame_size: int,
        *,
        reads_audio: bool = True,
        speaks: bool = True,
    ) -> None:
        self._request, self._rate, self._frame_size = request, rate, frame_size
        self._reads_audio, self._speaks = reads_audio, speaks
        self.clock = WallClock()
        self.sound: LiveSound | None = None
        self._stack, self._dither = ExitStack(), Dither()
        self._recording: Iterator[Frame] | None = None
        self._input_copy: AudioWriter | None = None
        self._output_file: AudioWriter | None = None
        self._meter = Meter(self.clock)
        self._seconds_played = 0.0
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None
        self._shares_line = (
            request.kind is LiveFormat.TEXT and sys.stdout.isatty() and sys.stderr.isatty()
        )
        self.interrupted = False

    @property
    def meter(self) -> Meter:
        """How well the work keeps up."""
        return self._meter if self.sound is None else self.sound.meter

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None and self.sound is not None:
                self.sound.drain()
        finally:
            self._closed.set()
            if self._ticker is not None:
                self._ticker.join()
            with suppress(*[AudioError] * (error is not None)):  # the first error is the one to see
                self._stack.close()
            if error is None or self.meter.audio or isinstance(error, KeyboardInterrupt):
                self._print_statistics()
        if self.interrupted and error is None:
            raise KeyboardInterrupt

    def frames(self) -> Iterator[Pcm]:
        """Yield the input frame by frame; the time until the next is asked for counts as work."""
        source = self._recording
        if source is None:
            assert self.sound is not None
            source = self.sound.frames()
        for frame in source:
            if self._input_copy is not None:
                self._input_copy.write(np.clip(frame.pcm, -1, 1))
            with self.meter.working(len(frame.pcm) / self._rate, frame.arrived):
                yield frame.pcm

    def play(self, pcm: Pcm) -> None:
        """Play and save samples float32 `[n]`, as the request asks."""
        pcm = np.clip(pcm, -1, 1)
        self._seconds_played += len(pcm) / self._rate
        if self._output_file is not None:
            self._output_file.write(self._dither(pcm))
        if self.sound is not None:
            self.sound.play(pcm)

    def end_input(self) -> None:
        """End the input: from now on speech may be generated faster than it is played."""
        if self.sound is not None:
            self.sound.wait_for_output()

    def resting(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield pieces of text; silence is right while the next one is waited for."""
        for piece in pieces:
            yield piece
            self.flush()

    def ticking(self, pieces: Iterator[str], task: Any) -> Iterator[str]:
        """Yield pieces of text and, between them, empty ones, so that the audio that a server has
        sent meanwhile is played."""
        for piece in ticking(pieces, TEXT_TICK_SECONDS):
            yield piece
            if not task.waiting_words:
                self.flush()

    def flush(self) -> None:
        """Play what is left; no more speech follows for now."""
        if self.sound is not None:
            self.sound.flush()

    def _open(self) -> None:
        request = self._request
        if self._reads_audio and request.input_file is not None:
            blocks = read_audio(request.input_file, self._rate, channel=request.channel)
            self._stack.enter_context(blocks)
            pace = self._frame_size / self._rate / request.rate
            self._recording = paced(cut_frames(blocks, self._frame_size), pace, self.clock)
        if request.save_input is not None:
            self._input_copy = self._writer(request.save_input)
        if request.save_output is not None:
            self._output_file = self._writer(request.save_output)
        self._open_devices()

    def _writer(self, path: str) -> AudioWriter:
        return self._stack.enter_context(AudioWriter(path, self._rate))

    def _open_devices(self) -> None:
        request, microphone = self._request, self._reads_audio and self._recording is None
        speaker = self._speaks and request.may_speak
        if not (microphone or speaker):
            return
        if sys.platform == "linux":
            self._stack.enter_context(filtered_stderr(PORTAUDIO_PREFIXES))
        try:
            sound = LiveSound(SoundCard(), self.clock, self._rate, self._frame_size)
            self._stack.callback(sound.close)
            if speaker:
                sound.open_output(request.output_device, wait=not self._reads_audio)
            if microphone:
                sound.open_microphone(
                    request.input_device, channel=request.channel, half_duplex=request.half_duplex
                )
        except AudioError as error:
            if microphone or request.needs_output_device:
                raise AudioError(f"{error}{_remedy(microphone)}") from None
            print_note(f"note: {error}; the speech goes to {request.save_output} alone")
            return
        self.sound = sound
        self._ticker = threading.Thread(target=self._tick, args=(sound,), daemon=True)
        self._ticker.start()
        if microphone:
            self._stack.enter_context(ended_by(self._interrupt, "SIGINT", *ENDINGS))

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """End the audio at the first interrupt, and everything at the next."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        if self.sound is not None:
            self.sound.stop()

    def _tick(self, sound: LiveSound) -> None:
        while not self._closed.wait(TICK_SECONDS):
            for note in sound.tick():
                self.note(note)

    def note(self, note: str) -> None:
        """Print a note on a line of its own."""
        if self._shares_line:
            note = f"\r\x1b[K{note}"
        print_note(note, quiet=self._request.quiet)

    def _print_statistics(self) -> None:
        said = None if self._reads_audio else self._seconds_played
        figures = _figures(self.meter, self.sound, said)
        if self._request.kind is LiveFormat.JSONL:
            with redirect_stdout(sys.stderr if self._request.save_output == "-" else sys.stdout):
                line({"type": "statistics", **_rounded(figures)})
        print_note(_in_a_line(figures), quiet=self._request.quiet)
        if delays := _delays(self.meter):
            print_note(_latencies(delays), quiet=self._request.quiet)


def check_devices(
    request: LiveRequest, *, reads_audio: bool, speaks: bool, instead: str | None = None
) -> None:
    """Raise AudioError or UsageError, with what to do instead, if a device that a request needs is
    not there."""
    microphone = reads_audio and request.input_file is None
    speaker = speaks and request.may_speak and request.needs_output_device
    if not (microphone or speaker):
        return
    quiet = sys.platform == "linux"
    with filtered_stderr(PORTAUDIO_PREFIXES) if quiet else nullcontext():
        try:
            devices = SoundCard().devices()
            if microphone:
                choose_device(devices, request.input_device, "input")
            if speaker:
                choose_device(devices, request.output_device, "output")
        except AudioError as error:
            raise AudioError(f"{error}{instead or _remedy(microphone)}") from None


def _remedy(microphone: bool) -> str:
    if microphone:
        return "; to read a recording, give '--input-file'"
    return f"; to play nothing, give '--output-device {NO_DEVICE}'"


def paced(pieces: Iterable[Pcm], seconds: float, clock: Clock) -> Iterator[Frame]:
    """Yields a piece every `seconds`, as a recording is spoken; those that come late follow at once
    until the pace is reached again."""
    due = clock.now()
    for piece in pieces:
        due += seconds
        while (left := due - clock.now()) > 0:
            clock.wait(left)
        yield Frame(piece, due)


def _figures(meter: Meter, sound: LiveSound | None, said: float | None) -> Figures:
    """Return the figures: seconds, counts, and the real-time factor.

    `said` is the seconds of speech of a model that reads text, None for one that reads audio.
    """
    found: Figures = {}
    if said is not None:
        found["said"] = said
    else:
        found |= {
            "received": meter.audio,
            "real_time_factor": meter.real_time_factor,
            "lag": meter.lag.median,
            "greatest_lag": meter.lag.greatest,
        }
    if sound is not None and sound.microphone is not None:
        found |= {
            "dropped": sound.capture_buffer.dropped,
            "overflows": sound.capture_buffer.overflows,
            "microphone_away": sound.microphone.away,
            "muted": sound.muted,
        }
    if sound is not None and sound.output_device is not None:
        found |= {
            "played": sound.playback_buffer.played,
            "not_played": sound.playback_buffer.dropped,
            "underruns": sound.playback_buffer.underruns,
            "speaker_away": sound.output_device.away,
        }
    for name, spread in _delays(meter):
        found |= {name: spread.median, f"greatest_{name}": spread.greatest}
    return found


def _in_a_line(found: Figures) -> str:
    """Format the figures; what did not happen is left out, except drops."""
    parts = []
    if found.get("received"):
        parts += [
            f"received {found['received']:.1f} s",
            f"real-time factor {found['real_time_factor']:.2f}",
            f"lag {found['lag']:.2f} s (at most {found['greatest_lag']:.2f})",
        ]
    elif "said" in found:
        parts.append(f"said {found['said']:.1f} s")
    if "dropped" in found:
        parts.append(f"dropped {found['dropped']:.1f} s")
    if found.get("overflows"):
        parts.append(f"{found['overflows']} overflows of the device")
    if found.get("muted"):
        parts.append(f"muted {found['muted']:.1f} s")
    if "played" in found:
        parts.append(f"played {found['played']:.1f} s")
        if found["not_played"]:
            parts.append(f"not played {found['not_played']:.1f} s")
        parts.append(f"{found['underruns']} underruns")
    for name in ("microphone", "speaker"):
        if found.get(f"{name}_away"):
            parts.append(f"without the {name} {found[f'{name}_away']:.1f} s")
    return ", ".join(parts) or "nothing was received"


def _latencies(delays: list[tuple[str, RunningStats]]) -> str:
    """Format latencies, such as that from sound to word."""
    parts = [
        f"{name.replace('_', ' ')} {spread.median:.2f} s (at most {spread.greatest:.2f})"
        for name, spread in delays
    ]
    return f"latency: {', '.join(parts)}"


def _delays(meter: Meter) -> list[tuple[str, RunningStats]]:
    """Return the latencies that were measured."""
    delays = (
        ("sound_to_word", meter.to_word),
        ("sound_to_sound", meter.to_sound),
        ("text_to_sound", meter.text_to_sound),
    )
    return [(name, spread) for name, spread in delays if spread.count]


def _rounded(found: Figures) -> dict[str, object]:
    """Round to a thousandth."""
    return {name: round(value, 3) for name, value in found.items()}


def show_devices(kind: LiveFormat) -> None:
    """Print the audio devices; raises AudioError if they cannot be listed."""
    devices = SoundCard().devices()
    if kind is LiveFormat.JSONL:
        for device in devices:
            line({"type": "device", **asdict(device)})
    elif devices:
        print(device_table(devices))
    else:
        print_note("no audio device found; connect one, or start the system's sound server")


def device_table(devices: list[Device]) -> str:
    """Format devices: a line of titles, then one line per device."""
    width = max(4, *(len(device.name) for device in devices))
    rows = [f"{'':>4}  {'name':{width}}  {'in':>3} {'out':>3} {'rate':>6}  system"]
    for device in devices:
        default = " and ".join(CALLED[direction] for direction in device.is_default)
        rows.append(
            f"{device.index:4}  {device.name:{width}}  {device.inputs:3} {device.outputs:3} "
            f"{device.rate:6}  {device.host}{f', its {default}' if default else ''}"
        )
    return "\n".join(rows)
