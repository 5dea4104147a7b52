"""The settings of a Realtime session, in the shape of OpenAI's API: updated in part, and shown as
they are in effect."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ....models.options import TurnPolicy
from ....runtime.errors import UsageError
from .messages import RealtimeError, invalid

LOGPROBS = "item.input_audio_transcription.logprobs"
HOLDS = {"low": 2.0, "medium": 1.0, "auto": 1.0, "high": 0.25}
"""Seconds that a pause stands before it ends a turn, by the eagerness to answer."""
BRANCHES = ("audio", "input", "output")
"""Objects of which a part may be updated; others are replaced."""
SWITCHES = ("transcription", "turn_detection")
"""Settings that null turns off; another one stays as it is."""

Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]


class AudioFormat(msgspec.Struct, frozen=True):
    """The format of audio; samples of 16 bits have a rate of 24 kHz."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000] | UnsetType = UNSET


class TranscriptionSettings(msgspec.Struct, frozen=True):
    """How audio is transcribed. `prompt` has no effect; `keywords` are hotwords."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    keywords: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()


class ServerVad(msgspec.Struct, frozen=True, tag="server_vad", tag_field="type"):
    """Turns that end with a pause of so many milliseconds; a higher threshold finds less speech."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Milliseconds = 300
    silence_duration_ms: Milliseconds = 500
    interrupt_response: bool = True

    @property
    def policy(self) -> TurnPolicy:
        """Raises UsageError for a threshold of 0 or 1."""
        return TurnPolicy(threshold=1 - self.threshold, hold=self.silence_duration_ms / 1000)


class SemanticVad(msgspec.Struct, frozen=True, tag="semantic_vad", tag_field="type"):
    """Turns that end with a pause which is the longer, the less eager the session is."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    interrupt_response: bool = True
    prefix_padding_ms = 0

    @property
    def policy(self) -> TurnPolicy:
        return TurnPolicy(hold=HOLDS[self.eagerness])


TurnDetection = ServerVad | SemanticVad


class InputSettings(msgspec.Struct, frozen=True):
    """The audio of the client."""

    format: AudioFormat = AudioFormat(rate=24000)
    transcription: TranscriptionSettings | None = None
    turn_detection: TurnDetection | None = None
    noise_reduction: None = None


class OutputSettings(msgspec.Struct, frozen=True):
    """The audio of responses."""

    format: AudioFormat = AudioFormat(rate=24000)
    voice: str = ""
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0


class AudioSettings(msgspec.Struct, frozen=True):
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()


class SessionSettings(msgspec.Struct, frozen=True):
    """All settings that have an effect, and `instructions`, which have none."""

    type: Literal["realtime", "transcription"] = "realtime"
    audio: AudioSettings = AudioSettings()
    include: tuple[Literal["item.input_audio_transcription.logprobs"], ...] = ()
    instructions: str = ""
    output_modalities: tuple[Literal["audio"]] = ("audio",)

    @property
    def listens(self) -> bool:
        """Whether a model reads the audio of the client."""
        given = self.audio.input
        return given.transcription is not None or given.turn_detection is not None

    @property
    def with_logprobs(self) -> bool:
        return LOGPROBS in self.include

    def updated(self, change: Mapping[str, Any]) -> "SessionSettings":
        """Return the settings with the ones in `change`; raises RealtimeError."""
        if change.get("tools"):
            raise RealtimeError(
                "session.tools: no model of language answers here; leave them out",
                code="unsupported",
                param="session.tools",
            )
        merged = _merged(msgspec.to_builtins(self), change)
        try:
            found = msgspec.convert(merged, SessionSettings)
        except (msgspec.ValidationError, RecursionError) as error:
            raise invalid(error, "session") from error
        _check_turns(found.audio.input.turn_detection)
        return found

    def describe(self, session_id: str, model: str) -> dict[str, Any]:
        """Return the session as the server shows it."""
        shown = msgspec.to_builtins(self)
        head = {"id": session_id, "object": f"realtime.{OBJECTS[self.type]}"}
        if self.type == "transcription":
            kept = {"input": shown["audio"]["input"]}
            return {**head, "type": self.type, "audio": kept, "include": self.include}
        if shown["audio"]["input"]["turn_detection"] is not None:
            shown["audio"]["input"]["turn_detection"]["create_response"] = False
        return {
            **head,
            "model": model,
            **shown,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
        }


def _check_turns(turns: TurnDetection | None) -> None:
    """Raise RealtimeError for turns that no policy could find."""
    try:
        _ = turns.policy if turns is not None else None
    except UsageError as error:
        raise RealtimeError(
            str(error), code="invalid_value", param="session.audio.input.turn_detection"
        ) from None


OBJECTS = {"realtime": "session", "transcription": "transcription_session"}


def _merged(known: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(known)
    for name, value in change.items():
        if name == "voice" and isinstance(value, dict):
            found[name] = value.get("id")
        elif name in BRANCHES and isinstance(value, dict) and isinstance(known.get(name), dict):
            found[name] = _merged(known[name], value)
        elif name == "noise_reduction" or (value is None and name not in SWITCHES):
            continue
        elif name == "format" and isinstance(value, dict):
            found[name] = _whole_format(value)
        elif isinstance(value, dict):
            found[name] = {key: each for key, each in value.items() if each is not None}
        else:
            found[name] = value
    return found


def _whole_format(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("type") or "audio/pcm"
    if kind != "audio/pcm":
        return {"type": kind}
    rate = given.get("rate")
    return {"type": kind, "rate": 24000 if rate is None else rate}
