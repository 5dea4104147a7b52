"""docs/serving.md has every flag, key, limit, path and metric of the server, and no other limit."""

import asyncio
import dataclasses
import re
from pathlib import Path

import pytest
from support.paths import ROOT
from typer.main import get_command

from kyutai_onnx.cli.main import app
from kyutai_onnx.server.config import ModelConfig, ServerConfig, read_config
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.moshi_config import SETTINGS, TASKS, TOP, UNSERVED
from kyutai_onnx.server.registry import ModelRegistry, load_models
from kyutai_onnx.server.server import make_app
from kyutai_onnx.server.web.connections import ConnectionLimiter
from kyutai_onnx.server.web.context import Context
from kyutai_onnx.server.web.metrics import Metrics
from kyutai_onnx.server.web.pages import Pages

PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
CODE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
NAMED = {word for code in re.findall(r"`([^`\n]+)`", CODE) for word in (code, *code.split())}
LIMIT = re.compile(r"^\| `(\w+)` \| (\w+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    tasks = ServerConfig().served
    return load_models(ServerConfig(models=tasks), lambda _: None)


def test_every_flag_is_there() -> None:
    command = get_command(app).get_command(None, "serve")  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {flag for flag in flags if flag.startswith("--")} - NAMED == set()


@pytest.mark.parametrize("kind", [ServerConfig, ModelConfig])
def test_every_key_is_there(kind: type) -> None:
    keys = {field.name for field in dataclasses.fields(kind)}
    assert keys - NAMED == set()


def test_every_limit_is_there_with_its_default() -> None:
    fields = dataclasses.fields(Limits)
    reported = dict(LIMIT.findall(PAGE))
    assert reported == {
        field.name: "none" if field.default is None else f"{field.default:.0f}" for field in fields
    }


def test_moshi_servers_keys_are_there() -> None:
    paddings = {name for name in SETTINGS if "padding" in name}
    assert {*SETTINGS, *TASKS, *UNSERVED, *TOP} - paddings - NAMED == {"modules"}


def test_every_path_is_there(registry: ModelRegistry) -> None:
    async def paths() -> set[str]:
        limiter = ConnectionLimiter(Limits(), 1)
        made = make_app(ServerConfig(), registry, limiter, Pages("none"))
        return {resource.canonical for resource in made.router.resources()}

    assert asyncio.run(paths()) - NAMED == {"/{name}"}


def test_every_metric_is_there(registry: ModelRegistry) -> None:
    metrics = Metrics(Context(ServerConfig(), registry, ConnectionLimiter(Limits(), 1)))
    families = {family.name for family in metrics._registry.collect()}
    assert {name for name in families if not name.startswith("process_")} - NAMED == set()


def test_the_file_is_one(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    keys = tmp_path / "api-keys"
    keys.write_text("a-key\n", "utf-8")
    path = tmp_path / "server.toml"
    path.write_text(shown.replace("/etc/kyutai-onnx/api-keys", keys.as_posix()), "utf-8")
    config, notes = read_config(path)
    config.check()
    assert config.api_keys == ("a-key",)
    assert [model.slots or config.slots for model in config.models] == [8, 2]
    assert notes == []
