"""What `stream` was asked for."""

from dataclasses import dataclass
from pathlib import Path

from ...models import TurnPolicy
from ...runtime.errors import UsageError
from ..choices import LiveFormat


@dataclass(frozen=True)
class LiveRequest:
    """Where sound comes from and goes to, and what is written of it. Without an input file the
    microphone is heard; `rate` is how much faster than it was spoken a file is played in."""

    input_file: str | None = None
    input_device: str | None = None
    output_device: str | None = None
    disable_speaker: bool = False
    half_duplex: bool = False
    save_input: str | None = None
    save_output: str | None = None
    channel: int | None = None
    rate: float = 1.0
    words: Path | None = None
    kind: LiveFormat = LiveFormat.TEXT
    vad: bool = False
    stats: bool = False
    policy: TurnPolicy | None = None
    turn_flush: bool = False
    watchdog: float = 0.0
    save_state: Path | None = None
    load_state: Path | None = None
    quiet: bool = False

    @property
    def source(self) -> str:
        """What messages call the sound that is heard."""
        return self.input_file or "the microphone"

    @property
    def may_speak(self) -> bool:
        """Whether a model that speaks is to be heard."""
        return not self.disable_speaker and self.rate == 1

    def check(self) -> None:
        """Raises UsageError for what does not go together."""
        if self.input_file is not None:
            self._refuse("with --input-file", input_device=self.input_device)
            self._refuse("with --input-file", half_duplex=self.half_duplex)
        elif self.rate != 1:
            raise UsageError("--rate is for --input-file: a microphone has a pace of its own")
        if self.disable_speaker:
            self._refuse("with --disable-speaker", output_device=self.output_device)
            self._refuse("with --disable-speaker", half_duplex=self.half_duplex)
        if self.rate != 1:
            self._refuse(f"with --rate {self.rate:g}", output_device=self.output_device)
        if self.save_input == "-":
            raise UsageError("--save-input: standard output is for what is written; name a file")

    def _refuse(self, where: str, **options: object) -> None:
        for name, given in options.items():
            if given:
                raise UsageError(f"--{name.replace('_', '-')}: not {where}; leave one of them out")
