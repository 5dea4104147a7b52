"""A server and the models on it."""

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from ...models.families import SERVED, Task
from ...runtime.bundle.dataclass_json import parse, parse_json
from ...runtime.errors import ModelError
from .address import parse_address
from .background import Background
from .errors import ServerError, refused, unreachable
from .line import CONNECT_SECONDS, Line, failure_of

if TYPE_CHECKING:
    from .chat import RemoteChat
    from .listening import RemoteSpeechToText
    from .speaking import RemoteTextToSpeech


@dataclass(frozen=True)
class Info:
    """What a server tells of a model: see `ServedModel.about`."""

    id: str
    family: str
    path: str
    slots: int
    precision: str
    sample_rate: int
    frame_size: int
    greedy: bool
    heads: int
    lead: float
    delay: float

    @property
    def task(self) -> Task | None:
        """What it is for; None if this program does not know its family."""
        return next((one.task for one in SERVED.values() if one.name == self.family), None)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size


@dataclass(frozen=True)
class Listing:
    """The answer of `/v1/models`."""

    data: tuple[Info, ...]


class RemoteServer:
    """A server of ours, by its URL (http, https, ws, wss) and, where it wants one, a key.

    Every method that asks it raises ServerError where it cannot be reached, or does not let us in.
    Raises UsageError for what is no URL.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.address = parse_address(url, api_key)
        self._background = Background()
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves all of its sessions, and ends its thread."""
        for line in list(self._lines):
            line.close()
        self._background.close()

    def models(self) -> list[Info]:
        """Those it serves, in its order, with their aliases."""
        try:
            listed = parse(Listing, self._background.call(self._get("/v1/models")))
        except ValueError:
            raise unreachable(self.address, "what answers is no server of ours") from None
        return list(listed.data)

    def find(self, task: Task | None = None, name: str | None = None) -> Info:
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
    ) -> "RemoteSpeechToText":
        """A model that transcribes; `rtf` paces what it is fed, in seconds of audio a second."""
        from .listening import RemoteSpeechToText

        return RemoteSpeechToText(self, self.find(Task.SPEECH_TO_TEXT, name), rtf)

    def text_to_speech(self, name: str | None = None) -> "RemoteTextToSpeech":
        """A model that speaks texts."""
        from .speaking import RemoteTextToSpeech

        return RemoteTextToSpeech(self, self.find(Task.TEXT_TO_SPEECH, name))

    def chat(self, name: str | None = None) -> "RemoteChat":
        """A model that speaks while it hears: Hibiki or Moshi."""
        from .chat import RemoteChat

        return RemoteChat(self, self.find(Task.SPEECH_TO_SPEECH, name))

    def line(
        self, info: Info, query: Mapping[str, object], news: threading.Condition | None = None
    ) -> Line:
        """A websocket of a model; what of the query is None is left out."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        asked = {"model": info.id, **given}
        line = Line(self._background, self.address, info.path, asked, news)
        self._lines.add(line)
        return line

    async def _get(self, path: str) -> Any:
        timeout = aiohttp.ClientTimeout(total=CONNECT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(headers=self.address.headers, timeout=timeout) as session,
                session.get(self.address.url + path) as answer,
            ):
                body = await answer.text()
                if answer.status != 200:
                    raise refused(self.address, answer.status, said_in(body))
                return parse_json(body)
        except ServerError:
            raise
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise failure_of(self.address, error) or error from None
        except ValueError:
            raise unreachable(self.address, "what answers is no server of ours") from None


def said_in(body: str) -> str:
    """The message of an answer that is an error; nothing where it has none that is short."""
    try:
        message = parse_json(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return message if isinstance(message, str) and len(message) < 200 else ""
