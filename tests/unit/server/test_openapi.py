"""`/openapi.json`: every route is described, and the requests as they are read."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from openapi_spec_validator import validate

from kyutai_onnx.models.families import Task
from kyutai_onnx.server.config import ServerConfig
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.openai import messages as openai
from kyutai_onnx.server.openapi import OPERATIONS, PATH, ErrorBody, Operation
from kyutai_onnx.server.registry import ModelRegistry, load_models
from kyutai_onnx.server.server import make_app
from kyutai_onnx.server.web.connections import ConnectionLimiter
from kyutai_onnx.server.web.pages import Pages

JSON_BODY = "Speech"


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    return load_models(ServerConfig(models=ServerConfig().served), lambda _: None)


def described(registry: ModelRegistry, *keys: str) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """The description of a server, and the methods and paths of its routes."""

    async def ask() -> tuple[dict[str, Any], set[tuple[str, str]]]:
        config = ServerConfig(api_keys=keys)
        app = make_app(config, registry, ConnectionLimiter(Limits(), 1), Pages("none"))
        routes = [route for route in app.router.routes() if route.method != "HEAD"]
        paths = {(route.method.lower(), cast("Any", route.resource).canonical) for route in routes}
        (shown,) = (r for r in routes if cast("Any", r.resource).canonical == PATH)
        answer = await shown.handler(cast("web.Request", None))
        assert isinstance(answer, web.Response)
        return json.loads(cast("bytes", answer.body)), paths

    return asyncio.run(ask())


def test_every_route_is_described(registry: ModelRegistry) -> None:
    for keys in ((), ("key",)):
        document, routes = described(registry, *keys)
        validate(document)
        found = {(method, path) for path, item in document["paths"].items() for method in item}
        assert found == routes


def test_what_is_not_served_is_left_out(registry: ModelRegistry) -> None:
    listening = [served for served in registry.all if served.family.task is Task.SPEECH_TO_TEXT]
    document, _ = described(ModelRegistry(listening))
    validate(document)
    assert "/v1/audio/transcriptions" in document["paths"]
    assert {"/v1/audio/speech", "/api/chat", "/api/voices"}.isdisjoint(document["paths"])


def test_a_route_that_is_unknown_is_an_error(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(cast("dict[tuple[str, str], Operation]", OPERATIONS), ("GET", "/health"))
    with pytest.raises(KeyError):
        described(registry)


def test_keys_are_asked_for_as_the_server_does(registry: ModelRegistry) -> None:
    document, _ = described(registry, "key")
    secured = {
        path
        for path, item in document["paths"].items()
        for one in item.values()
        if "security" in one
    }
    assert {"/v1/models", "/api/asr-streaming"} <= secured
    assert {"/health", "/{name}", PATH}.isdisjoint(secured)
    open_document, _ = described(registry)
    assert not any("security" in one for i in open_document["paths"].values() for one in i.values())


class Watched(dict[str, Any]):
    """A body that notes the fields which are read."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def properties(registry: ModelRegistry, name: str) -> dict[str, Any]:
    document, _ = described(registry)
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


def test_all_fields_that_are_read_are_described(registry: ModelRegistry) -> None:
    body = Watched({"input": "six"})
    openai.read_speech_request(body, 10)
    assert set(properties(registry, JSON_BODY)) == {*body.read, "instructions"}


def tried(schema: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Values that a schema allows, and some that it does not."""
    if "enum" in schema:
        return schema["enum"], ["nothing"]
    if "minimum" in schema:
        least, most = schema["minimum"], schema["maximum"]
        return [least, most], [least - 1, most + 1, "many"]
    if schema.get("type") == "boolean":
        return ["true", "false"], ["perhaps"]
    return ["six"], []


def test_a_body_is_read_as_it_is_described(registry: ModelRegistry) -> None:
    checked = 0
    for name, schema in properties(registry, JSON_BODY).items():
        allowed, refused = tried(schema)
        for value in allowed:
            openai.read_speech_request({"input": "six", name: value}, 10)
        for value in refused:
            with pytest.raises(openai.InvalidRequestError) as raised:
                openai.read_speech_request({"input": "six", name: value}, 10)
            assert raised.value.param == name
            checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Transcription", openai.read_transcription_request),
        ("Translation", openai.read_translation_request),
    ],
)
def test_a_form_is_read_as_it_is_described(
    registry: ModelRegistry, name: str, read: Callable[[Mapping[str, Sequence[str]]], object]
) -> None:
    formats = {"timestamp_granularities[]": "verbose_json", "include[]": "json"}
    checked = 0
    for field, schema in properties(registry, name).items():
        allowed, refused = tried(schema.get("items", schema))
        more = {"response_format": [formats[field]]} if field in formats else {}
        for value in allowed:
            read({**more, field: [str(value)]})
        for value in refused:
            with pytest.raises(openai.InvalidRequestError):
                read({**more, field: [str(value)]})
            checked += 1
    assert checked > 5


def test_an_error_is_as_described() -> None:
    error = openai.error("no", "server_error", param="model")
    assert msgspec.to_builtins(msgspec.convert(error, ErrorBody)) == error
