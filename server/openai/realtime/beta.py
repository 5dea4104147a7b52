"""The Realtime API's beta: its names for what has others now. Clients ask for it by a header."""

from collections.abc import Mapping
from typing import Any

HEADER, VERSION = "OpenAI-Beta", "realtime=v1"
FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FORMAT_NAMES = {ours: theirs for theirs, ours in FORMATS.items()}
SETTINGS = {
    "input_audio_format": ("input", "format"),
    "input_audio_transcription": ("input", "transcription"),
    "input_audio_noise_reduction": ("input", "noise_reduction"),
    "turn_detection": ("input", "turn_detection"),
    "output_audio_format": ("output", "format"),
    "voice": ("output", "voice"),
    "speed": ("output", "speed"),
}
EVENTS = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
NEW = ("conversation.item.done",)
"""Events that the beta lacks."""
SESSIONS = {"session.created": "created", "session.updated": "updated"}


def from_beta(change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a change of settings in today's shape; what is in that shape already stays."""
    found = {name: value for name, value in change.items() if name not in SETTINGS}
    audio: dict[str, dict[str, Any]] = {}
    for name, (side, setting) in SETTINGS.items():
        if name not in change:
            continue
        value = change[name]
        if setting == "format" and isinstance(value, str):
            value = {"type": FORMATS.get(value, value)}
        elif name == "turn_detection" and isinstance(value, dict):
            value = {"type": "server_vad", **value}
        audio.setdefault(side, {})[setting] = value
    if audio and "audio" not in found:
        found["audio"] = audio
    modalities = found.pop("modalities", None)
    if modalities is not None:
        spoken = isinstance(modalities, list) and "audio" in modalities
        found["output_modalities"] = ["audio"] if spoken else modalities
    return found


def to_beta(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return an event of the server as the beta has it; None if it has none."""
    kind = event["type"]
    if kind in NEW:
        return None
    found = {**event, "type": EVENTS.get(kind, kind)}
    if kind in SESSIONS:
        found["session"] = _session(event["session"])
        if event["session"]["type"] == "transcription":
            found["type"] = f"transcription_session.{SESSIONS[kind]}"
    if "item" in event:
        found["item"] = _item(event["item"])
    if "response" in event:
        found["response"] = _response(event["response"])
    return found


def _session(session: Mapping[str, Any]) -> dict[str, Any]:
    given = session["audio"]["input"]
    found: dict[str, Any] = {
        "id": session["id"],
        "object": session["object"],
        "input_audio_format": _FORMAT_NAMES[given["format"]["type"]],
        "input_audio_transcription": given["transcription"],
        "input_audio_noise_reduction": None,
        "turn_detection": given["turn_detection"],
        "include": session["include"],
    }
    if session["type"] == "transcription":
        return found | {"client_secret": {"value": "", "expires_at": 0}}
    spoken = session["audio"]["output"]
    return found | {
        "model": session["model"],
        "modalities": ["text", "audio"],
        "instructions": session["instructions"],
        "voice": spoken["voice"],
        "speed": spoken["speed"],
        "output_audio_format": _FORMAT_NAMES[spoken["format"]["type"]],
        "tools": [],
        "tool_choice": "auto",
        "max_response_output_tokens": "inf",
    }


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        {**part, "type": str(part["type"]).removeprefix("output_")} for part in item["content"]
    ]
    return {**item, "content": parts}


def _response(response: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(response)
    spoken = found.pop("audio")["output"]
    return found | {
        "output": [_item(item) for item in response["output"]],
        "modalities": ["text", "audio"],
        "voice": spoken["voice"],
        "output_audio_format": _FORMAT_NAMES[spoken["format"]["type"]],
    }
