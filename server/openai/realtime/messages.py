"""The events that clients of OpenAI's Realtime API send, parsed."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ....runtime.errors import UsageError
from ...wire import MOST_JSON

MOST_REASON = 200
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")

Id = Annotated[str, Meta(max_length=512)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class RealtimeError(UsageError):
    """An event that cannot be done; the client gets it as an event, and the session goes on."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.event_id, self.kind = code, param, event_id, kind


class ClientEvent(msgspec.Struct, frozen=True, tag_field="type"):
    """An event of a client, with the name that it gave it. Unknown fields are ignored."""

    event_id: Id | None = None


class UpdateSession(ClientEvent, frozen=True, tag="session.update", kw_only=True):
    """Change the settings that are given."""

    session: dict[str, Any]


class UpdateTranscriptionSession(
    ClientEvent, frozen=True, tag="transcription_session.update", kw_only=True
):
    """The same for a session that transcribes, in the beta."""

    session: dict[str, Any]


class AppendAudio(ClientEvent, frozen=True, tag="input_audio_buffer.append", kw_only=True):
    """The next bytes of the audio, in the format of the session; base64 in JSON."""

    audio: bytes


class CommitAudio(ClientEvent, frozen=True, tag="input_audio_buffer.commit"):
    """The audio since the last commit is an item, to be transcribed."""


class ClearAudio(ClientEvent, frozen=True, tag="input_audio_buffer.clear"):
    """Forget the audio since the last commit."""


class ContentPart(msgspec.Struct, frozen=True):
    """A part of an item; `text` is that of a part of text."""

    type: str
    text: str | None = None


class ItemRequest(msgspec.Struct, frozen=True):
    """An item of the conversation, as a client gives it."""

    id: Id | None = None
    type: str = "message"
    role: Literal["user", "assistant", "system"] | None = None
    content: list[ContentPart] = []

    @property
    def text(self) -> str:
        """What is asked to be spoken: the text of a user's message."""
        if self.role not in ("user", None):
            return ""
        parts = (part.text for part in self.content if part.type in ("input_text", "text"))
        return " ".join(text for text in parts if text)


class CreateItem(ClientEvent, frozen=True, tag="conversation.item.create", kw_only=True):
    """Add an item to the conversation."""

    item: ItemRequest
    previous_item_id: Id | None = None


class DeleteItem(ClientEvent, frozen=True, tag="conversation.item.delete", kw_only=True):
    """Forget an item."""

    item_id: Id


class RetrieveItem(ClientEvent, frozen=True, tag="conversation.item.retrieve", kw_only=True):
    """Send an item."""

    item_id: Id


class TruncateItem(ClientEvent, frozen=True, tag="conversation.item.truncate", kw_only=True):
    """The client played only so much of an item."""

    item_id: Id
    content_index: Count
    audio_end_ms: Count


class ResponseRequest(msgspec.Struct, frozen=True):
    """How a response differs from the settings of the session: `audio` as in these, the others as
    in the beta. `input` are the items to speak in place of those that wait."""

    input: list[ItemRequest] | None = None
    conversation: str | None = None
    metadata: dict[str, str] | None = None
    audio: dict[str, Any] | None = None
    output_modalities: list[str] | None = None
    modalities: list[str] | None = None
    voice: Any = None
    output_audio_format: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it changes."""
        names = ("audio", "output_modalities", "modalities", "voice", "output_audio_format")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


class CreateResponse(ClientEvent, frozen=True, tag="response.create"):
    """Speak the items that wait."""

    response: ResponseRequest | None = None


class CancelResponse(ClientEvent, frozen=True, tag="response.cancel"):
    """Stop speaking."""

    response_id: Id | None = None


_EVENTS = (
    UpdateSession,
    UpdateTranscriptionSession,
    AppendAudio,
    CommitAudio,
    ClearAudio,
    CreateItem,
    DeleteItem,
    RetrieveItem,
    TruncateItem,
    CreateResponse,
    CancelResponse,
)
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    str(kind.__struct_config__.tag): msgspec.json.Decoder(kind) for kind in _EVENTS
}


class _Head(msgspec.Struct, frozen=True):
    type: str
    event_id: Id | None = None


_HEAD = msgspec.json.Decoder(_Head)


def parse_client_event(message: bytes) -> ClientEvent:
    """Parse a message; raises RealtimeError, with the event's name if it has one.

    Only audio may be longer than a megabyte.
    """
    try:
        head = _HEAD.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RealtimeError(
            "the message is no JSON object with a type", code="invalid_event"
        ) from error
    if head.type not in _DECODERS:
        raise RealtimeError(
            f"unknown event {head.type[:60]!r}", code="unknown_event", param="type",
            event_id=head.event_id,
        )  # fmt: skip
    if len(message) > MOST_JSON and head.type != AppendAudio.__struct_config__.tag:
        raise RealtimeError(
            f"an event of {len(message)} bytes: at most {MOST_JSON}",
            code="invalid_event",
            event_id=head.event_id,
        )
    try:
        event: ClientEvent = _DECODERS[head.type].decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise invalid(error, event_id=head.event_id) from error
    return event


def invalid(error: Exception, prefix: str = "", *, event_id: str | None = None) -> RealtimeError:
    """Return the error for a field that msgspec refuses; `prefix` is where the fields are."""
    said = " ".join(str(error).split())
    place = _PLACE.search(said)
    param = ".".join(filter(None, (prefix, place[1] if place else ""))) or None
    what = _PLACE.sub("", said)[:MOST_REASON].replace("`", "")
    return RealtimeError(
        f"{param}: {what}" if param else what,
        code="invalid_value",
        param=param,
        event_id=event_id,
    )
