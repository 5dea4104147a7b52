"""The items of a Realtime session: what was said, and what waits to be spoken."""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from .messages import ItemRequest, RealtimeError

MOST_ITEMS = 64
"""Items that are kept; older ones are forgotten."""

ServerEvent = dict[str, Any]


def new_id(kind: str) -> str:
    """Return a name for an event, an item, a response or a session."""
    return f"{kind}_{secrets.token_hex(10)}"


class Conversation:
    """The last items, in their order. Texts of users that wait to be spoken have at most
    `most_characters` in all."""

    def __init__(self, most_characters: int) -> None:
        self.id = new_id("conv")
        self.last_id: str | None = None
        self._most = most_characters
        self._items: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._unspoken: OrderedDict[str, str] = OrderedDict()

    def create(self, request: ItemRequest) -> list[ServerEvent]:
        """Add the item of a client; return the events for it. Raises RealtimeError for an item that
        is no message, and for too much text."""
        if request.type != "message":
            raise RealtimeError(
                f"item.type {request.type[:20]!r}: no model of language answers here, so items are "
                "messages",
                code="unsupported",
                param="item.type",
            )
        if request.id is not None and request.id in self._items:
            raise RealtimeError(
                f"item.id {request.id!r} is taken", code="item_exists", param="item.id"
            )
        text = request.text
        self.check_length([*self._unspoken.values(), text])
        item: dict[str, Any] = {
            "id": request.id or new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": request.role or "user",
            "content": [{"type": part.type, "text": part.text} for part in request.content],
        }
        if len(self._unspoken) == MOST_ITEMS:
            raise RealtimeError(
                f"{MOST_ITEMS} items wait to be spoken: create a response first",
                code="too_many_items",
            )
        if text.strip():
            self._unspoken[item["id"]] = text
        return self.add(item)

    def check_length(self, texts: Sequence[str]) -> None:
        """Raise RealtimeError for texts that are too long to be spoken at once."""
        length = sum(map(len, texts))
        if length > self._most:
            raise RealtimeError(
                f"{length} characters wait to be spoken, at most {self._most}",
                code="string_above_max_length",
                param="item.content",
            )

    def add(self, item: dict[str, Any]) -> list[ServerEvent]:
        """Add an item that is whole."""
        added = self.begin(item)
        return [added, {**added, "type": "conversation.item.done"}]

    def begin(self, item: dict[str, Any]) -> ServerEvent:
        """Add an item that is not whole yet, and return the event for it."""
        event = {
            "type": "conversation.item.added",
            "previous_item_id": self.last_id,
            "item": item,
        }
        self._items[item["id"]] = item
        self.last_id = item["id"]
        while len(self._items) > MOST_ITEMS:
            self._items.popitem(last=False)
        return event

    def replace(self, item: dict[str, Any]) -> None:
        """Put an item that is whole in the place of what had begun, unless it is forgotten."""
        if item["id"] in self._items:
            self._items[item["id"]] = item

    def get(self, item_id: str) -> dict[str, Any]:
        """Return an item; raises RealtimeError."""
        if item_id not in self._items:
            raise RealtimeError(
                f"no item {item_id[:60]!r}; the last {MOST_ITEMS} are kept",
                code="item_not_found",
                param="item_id",
            )
        return self._items[item_id]

    def delete(self, item_id: str) -> None:
        """Forget an item; raises RealtimeError."""
        self.get(item_id)
        del self._items[item_id]
        self._unspoken.pop(item_id, None)

    @property
    def waiting_text(self) -> str:
        """The texts that wait to be spoken."""
        return " ".join(self._unspoken.values())

    def take_text(self) -> str:
        """Return the texts that wait to be spoken, which wait no more."""
        text, self._unspoken = self.waiting_text, OrderedDict()
        return text
