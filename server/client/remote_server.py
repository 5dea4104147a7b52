"""A server and the models on it."""

import contextlib
import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Self

from ...models.families import Task
from ...runtime.bundle.dataclass_json import parse, parse_json
from ...runtime.errors import ModelError
from .chat import RemoteChat
from .connection import (
    CONNECT_SECONDS,
    Connections,
    ModelInfo,
    failure_of,
    parse_address,
    pinned_context,
    refused,
    said_in,
    unreachable,
)
from .stt import RemoteSpeechToText
from .tts import RemoteTextToSpeech


@dataclass(frozen=True)
class ModelList:
    """The answer of `/v1/models`."""

    data: tuple[ModelInfo, ...]


class RemoteServer:
    """A server of ours, by its URL (http, https, ws, wss) and, if it wants one, a key.

    With `tls_fingerprint`, the SHA-256 of a certificate in hexadecimal digits, only the server with
    that certificate is trusted, whoever has signed it.

    Every method that asks it raises ServerError if it cannot be reached, does not let us in, or has
    another certificate. Raises UsageError for an invalid URL or fingerprint.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, tls_fingerprint: str | None = None
    ) -> None:
        self.address = parse_address(url, api_key, tls_fingerprint)
        self._connections = Connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves all of its sessions."""
        for connection in list(self._connections):
            connection.close()

    def models(self) -> list[ModelInfo]:
        """Those it serves, in its order, with their aliases."""
        try:
            return list(parse(ModelList, parse_json(self._get("/v1/models"))).data)
        except ValueError:
            raise unreachable(self.address, "what answers is no server of ours") from None

    def find(self, task: Task | None = None, name: str | None = None) -> ModelInfo:
        """The model of that name, else the first one, among those for a task or any; raises
        ModelError, naming the available ones."""
        models = self.models()
        fitting = [model for model in models if model.task and task in (None, model.task)]
        for model in fitting:
            if name in (None, model.id):
                return model
        there = ", ".join(f"{model.id} ({model.family})" for model in models)
        wanted = f"model {name}" if name else f"{task} model" if task else "model"
        raise ModelError(f"{self.address.url}: has no {wanted}; it has {there or 'none'}")

    def speech_to_text(
        self, name: str | None = None, *, rtf: float | None = None
    ) -> RemoteSpeechToText:
        """A model that transcribes; `rtf` paces what it is fed, in seconds of audio a second."""
        info = self.find(Task.SPEECH_TO_TEXT, name)
        return RemoteSpeechToText(self.address, info, self._connections, rtf)

    def text_to_speech(self, name: str | None = None) -> RemoteTextToSpeech:
        """A model that speaks texts."""
        info = self.find(Task.TEXT_TO_SPEECH, name)
        return RemoteTextToSpeech(self.address, info, self._connections)

    def chat(self, name: str | None = None) -> RemoteChat:
        """A model that speaks while it receives audio: Hibiki or Moshi."""
        info = self.find(Task.SPEECH_TO_SPEECH, name)
        return RemoteChat(self.address, info, self._connections)

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self.address.url + path, headers=self.address.headers)  # noqa: S310
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=pinned_context(self.address)),
        )
        try:
            with opener.open(request, timeout=CONNECT_SECONDS) as answer:
                return _read(answer)
        except urllib.error.HTTPError as error:
            body = b""
            with contextlib.suppress(http.client.HTTPException, OSError):
                body = _read(error)
            raise refused(self.address, error.code, said_in(body)) from None
        except urllib.error.URLError as error:
            reason = error.reason if isinstance(error.reason, Exception) else error
            raise failure_of(self.address, reason) from None
        except (http.client.HTTPException, OSError) as error:
            raise failure_of(self.address, error) from None


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
    """A whole body; raises TimeoutError if it takes long in all, whatever its pieces take."""
    body, deadline = bytearray(), time.monotonic() + CONNECT_SECONDS
    while piece := answer.read1(1 << 16):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)
