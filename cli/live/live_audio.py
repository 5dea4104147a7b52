"""Where the sound of one `stream` comes from and goes to: devices, files, and who looks after them.

The thread that called works on the sound. PortAudio's own threads copy it; one more looks after the
devices.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout, suppress
from types import FrameType, TracebackType
from typing import Self

import numpy as np

from ...runtime.audio import AudioWriter, Pcm, read_audio
from ...runtime.audio.live import Frame, LiveSound, Meter, SoundCard, WallClock
from ...runtime.audio.live.capture import cut_frames, paced
from ...runtime.audio.live.sound_card import PORTAUDIO_PREFIXES
from ...runtime.audio.pcm import Dither
from ...runtime.audio.stderr_filter import filtered_stderr
from ...runtime.errors import AudioError
from ..choices import LiveFormat
from ..messages import say
from ..output.live_output import line
from ..signals import ENDINGS, ended_by
from . import statistics
from .request import LiveRequest

TICK_SECONDS = 0.2


class LiveAudio:
    """Opens what a request names when entered, and closes it however the `with` block ends; then
    tells how it went. `hears` is False for a model that reads, `speaks` for one that writes.

    Raises AudioError and UsageError for what cannot be opened. The first interrupt of a microphone
    ends its sound; what is left is finished, and KeyboardInterrupt raised at the end. A request to
    end, as of a service that is stopped or a terminal that is closed, counts as one.
    """

    def __init__(
        self,
        request: LiveRequest,
        rate: int,
        frame_size: int,
        *,
        hears: bool = True,
        speaks: bool = True,
    ) -> None:
        self._request, self._rate, self._frame_size = request, rate, frame_size
        self._hears, self._speaks = hears, speaks
        self.clock = WallClock()
        self.sound: LiveSound | None = None
        self._stack, self._dither = ExitStack(), Dither()
        self._file: Iterator[Frame] | None = None
        self._heard: AudioWriter | None = None
        self._said: AudioWriter | None = None
        self._meter = Meter(self.clock)
        self._made = 0.0
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self.sound is not None:
                self.sound.drain()
        finally:
            self._over.set()
            if self._keeper is not None:
                self._keeper.join()
            with suppress(*[AudioError] * (error is not None)):  # the first error is the one to see
                self._stack.close()
            if error is None or self.meter.audio or isinstance(error, KeyboardInterrupt):
                self._tell_statistics()
        if self.interrupted and error is None:
            raise KeyboardInterrupt

    def frames(self) -> Iterator[Pcm]:
        """What is heard, frame after frame; what is done with each until the next is the work."""
        source = self._file
        if source is None:
            assert self.sound is not None
            source = self.sound.frames()
        for frame in source:
            if self._heard is not None:
                self._heard.write(np.clip(frame.pcm, -1, 1))
            with self.meter.working(len(frame.pcm) / self._rate, frame.arrived):
                yield frame.pcm

    def play(self, pcm: Pcm) -> None:
        """Says samples float32 [n], to whomever it was asked for."""
        pcm = np.clip(pcm, -1, 1)
        self._made += len(pcm) / self._rate
        if self._said is not None:
            self._said.write(self._dither(pcm))
        if self.sound is not None:
            self.sound.play(pcm)

    def last_words(self) -> None:
        """Nothing more is heard: what is said from now on may be made quicker than it is spoken."""
        if self.sound is not None:
            self.sound.wait_for_output()

    def rest(self) -> None:
        """Nothing more is to be said for now."""
        if self.sound is not None:
            self.sound.flush()

    def _open(self) -> None:
        request = self._request
        if self._hears and request.input_file is not None:
            blocks = read_audio(request.input_file, self._rate, channel=request.channel)
            self._stack.enter_context(blocks)
            pace = self._frame_size / self._rate / request.rate
            self._file = paced(cut_frames(blocks, self._frame_size), pace, self.clock)
        if request.save_input is not None:
            self._heard = self._stack.enter_context(AudioWriter(request.save_input, self._rate))
        if request.save_output is not None:
            self._said = self._stack.enter_context(AudioWriter(request.save_output, self._rate))
        self._open_devices()

    def _open_devices(self) -> None:
        request, microphone = self._request, self._hears and self._file is None
        speaker = self._speaks and request.may_speak
        if not (microphone or speaker):
            return
        if sys.platform == "linux":
            self._stack.enter_context(filtered_stderr(PORTAUDIO_PREFIXES))
        try:
            sound = LiveSound(SoundCard(), self.clock, self._rate, self._frame_size)
            self._stack.callback(sound.close)
            if speaker:
                sound.open_output(request.output_device, wait=not self._hears)
            if microphone:
                sound.open_microphone(
                    request.input_device, channel=request.channel, half_duplex=request.half_duplex
                )
        except AudioError as error:
            if microphone or request.save_output is None or request.output_device is not None:
                raise AudioError(f"{error}{self._way_out(microphone)}") from None
            say(f"note: {error}; the speech goes to {request.save_output} alone")
            return
        self.sound = sound
        self._keeper = threading.Thread(target=self._look_after, args=(sound,), daemon=True)
        self._keeper.start()
        if microphone:
            self._stack.enter_context(ended_by(self._interrupt, "SIGINT", *ENDINGS))

    def _way_out(self, microphone: bool) -> str:
        if microphone:
            return "; a recording is heard by '--input-file'"
        return "; without a speaker give '--disable-speaker'"

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """The first one ends the sound, the next one everything."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        if self.sound is not None:
            self.sound.stop()

    def _look_after(self, sound: LiveSound) -> None:
        while not self._over.wait(TICK_SECONDS):
            for note in sound.tick():
                self.tell(note)

    def tell(self, note: str) -> None:
        """A note, on a line of its own."""
        if self._shares_line:
            note = f"\r\x1b[K{note}"
        say(note, quiet=self._request.quiet)

    def _tell_statistics(self) -> None:
        said = None if self._hears else self._made
        figures = statistics.figures(self.meter, self.sound, said)
        say(statistics.in_a_line(figures), quiet=self._request.quiet)
        if self._request.stats:
            if self._request.kind is LiveFormat.JSONL:
                with redirect_stdout(
                    sys.stderr if self._request.save_output == "-" else sys.stdout
                ):
                    line({"type": "statistics", **statistics.rounded(figures)})
            say(statistics.latencies(self.meter))
