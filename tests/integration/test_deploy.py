"""What `deploy/` says is true of the server: its flags, its paths, and the metrics it shows."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from support.paths import ROOT
from typer.main import get_command

from kyutai_onnx.cli.main import app
from kyutai_onnx.models.families import FAMILIES
from kyutai_onnx.server.config import ModelConfig, ServerConfig
from kyutai_onnx.server.registry import load_models
from kyutai_onnx.server.server import LAST_INPUT, LAST_WORDS, make_app
from kyutai_onnx.server.web.connections import ConnectionLimiter
from kyutai_onnx.server.web.context import Context
from kyutai_onnx.server.web.metrics import Metrics
from kyutai_onnx.server.web.pages import Pages

DEPLOY = ROOT / "deploy"
CLUSTER = DEPLOY / "cluster"
BALANCER, SWARM, KUBERNETES = (
    CLUSTER / name for name in ("haproxy.cfg", "swarm.yaml", "kubernetes.yaml")
)
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
    "name",
    [
        "Dockerfile",
        "Dockerfile.cuda",
        "compose.yaml",
        "kyutai-onnx.service",
        "cluster/swarm.yaml",
        "cluster/kubernetes.yaml",
    ],
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
    serving = ("ENTRYPOINT", "ExecStart=", "    command:", "docker run", " - --")
    return "\n".join(
        line.partition("kyutai-onnx")[2] if "docker run" in line else line
        for line in lines
        if any(mark in line for mark in serving)
    )


def run(*command: object, **options: Any) -> None:
    """Runs the checker of a file, which must find nothing."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("servers", ["servers.cfg", "servers-dns.cfg"])
def test_haproxy_takes_its_files(servers: str) -> None:
    environment = {**os.environ, "KYUTAI_SERVERS": "tasks.server"}
    run("haproxy", "-c", "-f", BALANCER, "-f", CLUSTER / servers, env=environment)


def test_compose_takes_the_file_of_a_swarm() -> None:
    run("docker-compose", "-f", CLUSTER / "swarm.yaml", "config", "--quiet")


@pytest.mark.parametrize("version", ["1.30", "1.36"])
def test_kubernetes_knows_every_field(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for content in yaml.safe_load_all(KUBERNETES.read_text("utf-8")):
        validator.validate(content, version, strict=True)


def test_the_balancer_names_each_path_that_takes_a_slot() -> None:
    config = ServerConfig(models=(ModelConfig(task="stt"), ModelConfig(task="tts")))

    async def paths() -> set[str]:
        registry = load_models(config, lambda _: None)
        limiter = ConnectionLimiter(config.limits, 1)
        routes = make_app(config, registry, limiter, Pages("none")).router.routes()
        return {one.resource.canonical for one in routes if one.resource and takes_slot(one)}

    found = asyncio.run(paths())
    assert len(found) >= 7
    text = BALANCER.read_text("utf-8")
    named = re.findall(r"use_backend \w+ if { path (.*) }", text)
    assert found == {path for line in named for path in line.split()}


def takes_slot(route: web.AbstractRoute) -> bool:
    assert route.resource is not None
    sockets = {family.socket for family in FAMILIES.values()} | {"/v1/realtime"}
    return route.method == "POST" or route.resource.canonical in sockets


def test_slots_and_times_are_the_same_everywhere() -> None:
    (most,) = re.findall(r"default-server maxconn (\d+)", BALANCER.read_text("utf-8"))
    swarm, kubernetes = (path.read_text("utf-8") for path in (SWARM, KUBERNETES))
    for text in (swarm, kubernetes):
        assert f"--slots={most}\n" in text
        assert "--when-full=503" in text
    (minutes,) = set(re.findall(r"stop_grace_period: 1h(\d)m", swarm))
    graces = {int(seconds) for seconds in re.findall(r"GracePeriodSeconds: (\d+)", kubernetes)}
    for text, grace in ((swarm, 3600 + 60 * int(minutes)), (kubernetes, min(graces))):
        (drain,) = re.findall(r"--drain=(\d+)", text)
        assert grace >= int(drain) + LAST_INPUT + LAST_WORDS + 10


def test_the_autoscaler_asks_for_what_the_server_shows(exported: set[str]) -> None:
    (rule,) = yaml.safe_load((CLUSTER / "prometheus-adapter.yaml").read_text("utf-8"))["rules"][
        "custom"
    ]
    (scaler,) = (
        content
        for content in yaml.safe_load_all(KUBERNETES.read_text("utf-8"))
        if content["kind"] == "HorizontalPodAutoscaler"
    )
    (metric,) = scaler["spec"]["metrics"]
    asked = metric["pods"]["metric"]["name"]
    assert asked in exported
    assert rule["name"]["as"] == asked
    assert asked in rule["seriesQuery"]
    assert asked in rule["metricsQuery"]


def test_prometheus_asks_the_server_where_it_listens() -> None:
    port = ServerConfig().port
    assert f'"server:{port}"' in (DEPLOY / "prometheus.yml").read_text("utf-8")
    assert f"127.0.0.1:{port}:{port}" in (DEPLOY / "compose.yaml").read_text("utf-8")
    for name in ("Dockerfile", "Dockerfile.cuda"):
        text = (DEPLOY / name).read_text("utf-8")
        assert f"EXPOSE {port}" in text
        assert f"127.0.0.1:{port}/health" in text
