"""`/openapi.json`: the routes of a server, described by the options and constants that read their
requests."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from ..models.families import Family, Task
from ..models.options import (
    ConversationOptions,
    Offered,
    Parameter,
    SpeechOptions,
    SpeechToTextOptions,
    TranslationOptions,
    parameters,
)
from .moshi_server import messages as moshi
from .openai import messages as openai
from .registry import ModelRegistry
from .web.auth import HEADER, QUERY
from .web.status import PACKAGE, package_version
from .web.uploads import FILE

PATH = "/openapi.json"
VERSION = "3.1.0"
JSON, TEXT, FORM, BYTES = (
    *("application/json", "text/plain"),
    *("multipart/form-data", "application/octet-stream"),
)
REFERENCE = "#/components/schemas/{name}"
SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": HEADER},
    "bearer": {"type": "http", "scheme": "bearer"},
    "query": {"type": "apiKey", "in": "query", "name": QUERY[0]},
}
HEADERS = ("header", "bearer")
"""The schemes of requests with a body."""
ERRORS = {
    "400": "The request is invalid.",
    "401": "The API key is missing or wrong.",
    "404": "There is no such model, voice or page.",
    "413": "The body, the recording or the text is too long.",
    "429": "There are too many requests or sessions of this caller.",
    "503": "The server is busy, or stops.",
}
Field = tuple[str, Any, Any]
"""Name, type and default of a field."""


REQUIRED = msgspec.field()


class ErrorDetails(msgspec.Struct):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """The answer to a request under `/v1/` that fails."""

    error: ErrorDetails


class VoiceObject(msgspec.Struct):
    """A voice, as some of OpenAI's clients name it."""

    id: str


def _optional(name: str, kind: Any, description: str) -> Field:
    about = Meta(description=description)
    return name, Annotated[kind | msgspec.UnsetType, about], msgspec.UNSET


def _options(
    options: Mapping[str, Parameter], names: Mapping[str, Sequence[str]] | None = None
) -> list[Field]:
    """Options of a stream, by all names that a protocol has for them."""
    return [
        _optional(name, _type_of(option), option.help)
        for ours, option in options.items()
        for name in (names or {}).get(ours, (ours,))
    ]


def _one_of(names: Iterable[str]) -> Any:
    return Literal[tuple(names)]


def _several(name: str, one: Any, description: str) -> Field:
    """A field that may be given several times; its name need not be one that Python can have."""
    _, kind, default = _optional(name, list[one], description)
    return re.sub(r"\W", "", name), kind, msgspec.field(name=name, default=default)


def _type_of(option: Parameter) -> Any:
    limits = option.range
    if limits is None:
        return _one_of(option.choices) if option.choices else str
    kind = int if limits.whole else float
    return Annotated[kind, Meta(ge=kind(limits.least), le=kind(limits.most))]


MODEL = _optional("model", str, "A model, by its name or an alias. Default: the first that fits.")
SPEECH = msgspec.defstruct(
    "Speech",
    [
        ("input", Annotated[str, Meta(min_length=1, description="The text to speak.")], REQUIRED),
        MODEL,
        _optional("voice", str | VoiceObject, "A voice; OpenAI's names mean one of the model's."),
        _optional("response_format", _one_of(openai.SPEECH_TYPES), "Default: mp3."),
        _optional("stream_format", _one_of(openai.STREAM_FORMATS), "sse sends events."),
        _optional(
            "speed",
            Annotated[float, Meta(ge=openai.SPEEDS.least, le=openai.SPEEDS.most)],
            "Stretches the speech at the same pitch. Default: 1.",
        ),
        _optional("instructions", str, "Has no effect."),
        *_options(openai.SPEECH_OPTIONS),
    ],
)
AUDIO_FILE = Annotated[str, Meta(extra_json_schema={"contentMediaType": BYTES})]
RECORDING: Sequence[Field] = (
    (FILE, AUDIO_FILE, REQUIRED),
    MODEL,
    _optional("response_format", _one_of(openai.TRANSCRIPT_TYPES), "Default: json."),
    _several(openai.GRANULARITY_FIELD, _one_of(openai.GRANULARITIES), "For verbose_json."),
    _optional("prompt", str, "Has no effect."),
)
TRANSCRIPTION = msgspec.defstruct(
    "Transcription",
    [
        *RECORDING,
        _several(openai.INCLUDE_FIELD, _one_of([openai.LOGPROBS]), "For json."),
        _several(openai.KEYWORD_FIELDS[0], str, "Words to prefer, each with the usual bonus."),
        _optional("stream", bool, "Sends the words as events, as they are found."),
        _optional("language", str, "Is repeated by verbose_json, and has no other effect."),
        *(
            field
            for field in _options(parameters(SpeechToTextOptions, Offered.CLIENTS))
            if field[0] != "prompt"
        ),
    ],
)
TRANSLATION = msgspec.defstruct(
    "Translation",
    [
        *RECORDING,
        *_options(
            parameters(TranslationOptions, Offered.CLIENTS),
            {ours: (theirs,) for ours, theirs in openai.TRANSLATION_NAMES.items()},
        ),
    ],
)
QUERIES: Mapping[Task, Sequence[Field]] = {
    Task.SPEECH_TO_TEXT: [
        MODEL,
        _optional("exact", bool, "Closes words with their final text, for the built-in client."),
        *_options(parameters(SpeechToTextOptions, Offered.CLIENTS)),
    ],
    Task.TEXT_TO_SPEECH: [
        MODEL,
        _optional("voice", str, "A voice of /api/voices."),
        _optional("format", moshi.TtsFormat, "Default: OggOpus."),
        *_options(parameters(SpeechOptions, Offered.CLIENTS)),
    ],
    Task.SPEECH_TO_SPEECH: [
        MODEL,
        *_options(parameters(ConversationOptions, Offered.CLIENTS), moshi.OPTION_NAMES),
    ],
}


def _is_for(task: Task) -> Callable[[Family], bool]:
    return lambda family: family.task is task


@dataclass(frozen=True)
class Operation:
    """A method of a path; `answers` are the types of what it answers, `body` is the type and the
    structure of what it reads, `is_open` says that it needs no key. It is left out if it `needs` a
    family of another kind than any that is served."""

    summary: str
    answers: tuple[str, ...] = (JSON,)
    needs: Callable[[Family], bool] = lambda _: True
    query: Sequence[Field] = ()
    body: tuple[str, Any] | None = None
    is_open: bool = False
    status: str = "200"


SOCKETS: Mapping[tuple[str, Task], Operation] = {
    ("GET", Task.SPEECH_TO_TEXT): Operation("Transcribe live audio, by a websocket.", ()),
    ("GET", Task.TEXT_TO_SPEECH): Operation("Speak text as it comes, by a websocket.", ()),
    ("GET", Task.SPEECH_TO_SPEECH): Operation("Talk both ways, by a websocket.", ()),
    ("POST", Task.SPEECH_TO_TEXT): Operation(
        "Transcribe a recording.", query=[MODEL], body=(BYTES, AUDIO_FILE)
    ),
    ("POST", Task.TEXT_TO_SPEECH): Operation(
        "Speak a text.", ("audio/wav",), query=[MODEL], body=(JSON, moshi.SpokenText)
    ),
}
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/audio/transcriptions"): Operation(
        "Transcribe a recording, for OpenAI's clients.",
        (*dict.fromkeys(openai.TRANSCRIPT_TYPES.values()), openai.EVENTS),
        _is_for(Task.SPEECH_TO_TEXT),
        body=(FORM, TRANSCRIPTION),
    ),
    ("POST", "/v1/audio/translations"): Operation(
        "Translate a recording to text, for OpenAI's clients.",
        tuple(dict.fromkeys(openai.TRANSCRIPT_TYPES.values())),
        lambda family: family.translates,
        body=(FORM, TRANSLATION),
    ),
    ("POST", "/v1/audio/speech"): Operation(
        "Speak a text, for OpenAI's clients.",
        (*openai.SPEECH_TYPES.values(), openai.EVENTS),
        _is_for(Task.TEXT_TO_SPEECH),
        body=(JSON, SPEECH),
    ),
    ("GET", "/v1/realtime"): Operation(
        "Transcribe audio and speak texts, by a websocket for OpenAI's clients.",
        (),
        lambda family: family.task in (Task.SPEECH_TO_TEXT, Task.TEXT_TO_SPEECH),
        query=[MODEL, _optional("intent", Literal["transcription"], "Transcribes alone.")],
        status="101",
    ),
    ("GET", "/v1/models"): Operation("List the models."),
    ("GET", "/v1/models/{name}"): Operation("Describe a model."),
    ("GET", "/v1/audio/voices"): Operation(
        "List the names of voices, also OpenAI's.",
        needs=_is_for(Task.TEXT_TO_SPEECH),
        query=[MODEL],
    ),
    ("GET", "/api/voices"): Operation(
        "List the voices of a model.", needs=_is_for(Task.TEXT_TO_SPEECH), query=[MODEL]
    ),
    ("GET", "/health"): Operation("Report whether the engines work.", is_open=True),
    ("GET", "/ready"): Operation("Report whether sessions are accepted.", is_open=True),
    ("GET", "/metrics"): Operation("Show Prometheus metrics.", (TEXT,), is_open=True),
    ("GET", "/api/build_info"): Operation("Show the version, as moshi-server.", is_open=True),
    ("GET", "/api/modules_info"): Operation("List the modules, as moshi-server.", is_open=True),
    ("GET", PATH): Operation("Describe this server.", is_open=True),
    ("GET", "/{name}"): Operation("Show a file of the page.", (BYTES,), is_open=True),
}


class Description:
    """The description of one server; `sockets` are the paths of its websockets."""

    def __init__(
        self, registry: ModelRegistry, sockets: Iterable[tuple[Task, str]], *, has_keys: bool
    ) -> None:
        self._families = [served.family for served in registry.all]
        self._sockets = {path: task for task, path in sockets}
        self._has_keys = has_keys
        self._content = b""

    async def show(self, _: web.Request) -> web.Response:
        """Answer `/openapi.json`."""
        return web.Response(body=self._content, content_type=JSON)

    def describe(self, router: web.UrlDispatcher) -> None:
        """Describe the routes of a router for tasks that are served; raises KeyError for one that
        is unknown here."""
        paths: dict[str, dict[str, Any]] = {}
        structures = _Structures()
        for route in router.routes():
            assert route.resource is not None
            path = route.resource.canonical
            if route.method == "HEAD":
                continue
            operation = self._operation(route.method, path)
            if any(map(operation.needs, self._families)):
                described = self._described(path, operation, structures)
                paths.setdefault(path, {})[route.method.lower()] = described
        document = {
            "openapi": VERSION,
            "info": {"title": PACKAGE, "version": package_version()},
            "servers": [{"url": "."}],
            "paths": paths,
            "components": {"schemas": structures.components(), "securitySchemes": SCHEMES},
        }
        self._content = json.dumps(document).encode()

    def _operation(self, method: str, path: str) -> Operation:
        task = self._sockets.get(path)
        if task is None:
            return OPERATIONS[method, path]
        found = replace(SOCKETS[method, task], needs=_is_for(task))
        return replace(found, query=QUERIES[task], status="101") if method == "GET" else found

    def _described(
        self, path: str, operation: Operation, structures: "_Structures"
    ) -> dict[str, Any]:
        content: dict[str, Any] = {kind: {} for kind in operation.answers}
        success = {"description": "Success.", **({"content": content} if content else {})}
        described: dict[str, Any] = {
            "summary": operation.summary,
            "parameters": [*_path_parameters(path), *structures.query(operation.query)],
            "responses": {operation.status: success},
        }
        if operation.body is not None:
            kind, body = operation.body
            content = {kind: {"schema": structures.schema(body)}}
            described["requestBody"] = {"required": True, "content": content}
        if not operation.is_open:
            failure: dict[str, Any] = {TEXT: {}}
            if path.startswith("/v1/"):
                failure = {JSON: {"schema": structures.schema(ErrorBody)}}
            for status, text in ERRORS.items():
                described["responses"][status] = {"description": text, "content": failure}
            if self._has_keys:
                names = SCHEMES if "requestBody" not in described else HEADERS
                described["security"] = [{name: []} for name in names]
        return described


class _Structures:
    """The structures that a description refers to."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def schema(self, kind: Any) -> Any:
        """Return the schema of a type, or a reference to it."""
        (schema,), found = msgspec.json.schema_components([kind], ref_template=REFERENCE)
        self._found |= found
        return schema

    def query(self, fields: Sequence[Field]) -> list[dict[str, Any]]:
        """Return the parameters of a query."""
        structure = msgspec.defstruct("Query", fields)
        _, found = msgspec.json.schema_components([structure], ref_template=REFERENCE)
        properties = found.pop("Query")["properties"]
        self._found |= found
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in properties.items()
        ]

    def components(self) -> dict[str, Any]:
        """Return all structures by their names."""
        return self._found


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
