"""What OpenAI's endpoints have in common: errors, the list of models, events of a stream."""

import json
from collections.abc import Iterable
from typing import Any

from ...runtime.errors import UsageError

DONE = b"data: [DONE]\n\n"


class InvalidRequestError(UsageError):
    """A request that cannot be met as it was made; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def error(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of an answer that is an error, as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def model_list(names: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """The answer of `/v1/models`: of each model its name, its owner and the second it was made."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": owner}
        for name, owner, created in names
    ]
    return {"object": "list", "data": data}


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
