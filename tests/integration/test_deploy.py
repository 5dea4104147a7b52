"""What `deploy/` says is true of the server: its flags, its paths, and the metrics it shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from typer.main import get_command

from kyutai_onnx.cli.main import app
from kyutai_onnx.server.config import ModelConfig, ServerConfig
from kyutai_onnx.server.registry import load_models
from kyutai_onnx.server.web.connections import ConnectionLimiter
from kyutai_onnx.server.web.context import Context
from kyutai_onnx.server.web.metrics import Metrics

DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "kyutai-onnx.json"
METRIC = re.compile(r"\b(?:kyutai|asr|py|process)_\w+")
SAMPLES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
    "unknown": ("",),
}
"""What stands behind the name of a metric of each type."""


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """All that a server shows, whether it has been used yet or not."""
    config = ServerConfig(models=(ModelConfig(task="stt"), ModelConfig(task="tts")))
    registry = load_models(config, lambda _: None)
    metrics = Metrics(Context(config, registry, ConnectionLimiter(config.limits, 1)))
    return {
        family.name + suffix
        for family in metrics._registry.collect()
        for suffix in SAMPLES[family.type]
    }


def expressions(value: Any) -> Iterator[str]:
    """What a dashboard asks Prometheus for."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in ("expr", "definition"):
                yield item
            yield from expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item)


def test_the_dashboard_asks_for_what_the_server_shows(exported: set[str]) -> None:
    asked = {
        name
        for expression in expressions(json.loads(DASHBOARD.read_text("utf-8")))
        for name in METRIC.findall(expression)
    }
    if not Path("/proc/self/stat").exists():  # only there a process is measured
        asked = {name for name in asked if not name.startswith("process_")}
    assert len(asked) > 10
    assert asked <= exported


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells


@pytest.mark.parametrize(
    "name", ["Dockerfile", "Dockerfile.cuda", "compose.yaml", "kyutai-onnx.service"]
)
def test_the_flags_are_those_of_serve(name: str) -> None:
    command = get_command(app).get_command(None, "serve")  # type: ignore[attr-defined]
    known = {flag for parameter in command.params for flag in parameter.opts}
    used = set(re.findall(r"(?<=[\"' ])--[a-z-]+", serving_lines(name)))
    assert used
    assert used <= known


def serving_lines(name: str) -> str:
    """Those in which the server, and nothing else, is given flags."""
    lines = (DEPLOY / name).read_text("utf-8").splitlines()
    serving = ("ENTRYPOINT", "ExecStart=", "    command:", "docker run")
    return "\n".join(
        line.partition("kyutai-onnx")[2] if "docker run" in line else line
        for line in lines
        if any(mark in line for mark in serving)
    )


def test_prometheus_asks_the_server_where_it_listens() -> None:
    port = ServerConfig().port
    assert f'"server:{port}"' in (DEPLOY / "prometheus.yml").read_text("utf-8")
    assert f"127.0.0.1:{port}:{port}" in (DEPLOY / "compose.yaml").read_text("utf-8")
    for name in ("Dockerfile", "Dockerfile.cuda"):
        text = (DEPLOY / name).read_text("utf-8")
        assert f"EXPOSE {port}" in text
        assert f"127.0.0.1:{port}/health" in text
