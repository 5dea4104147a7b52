"""A short form of `python -m benchmarks.attack`: the server lives, refuses what it should, and the
witness's words are right. Times are measured by the benchmark alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.attacks import ATTACKS
from benchmarks.attacks.target import Target
from benchmarks.served import ServedProcess

PATIENCE, FLOOD_SECONDS = 60.0, 1.0
REFUSED = {
    "many-headers": {"200", "400", "414", "431", "404", "reset"},
    "tls-to-a-plain-port": {"400"},
    "multipart-nested": {"400"},
    "deflate-bombs": {"101", "reset"},
    "noise-as-messages": {"ws 1002", "ws 1003", "ws 1007", "ws closed", "ws dropped"},
    "tiny-temperatures": {"200", "400", "404", "ws closed"},
    "wyoming-long-line": {"cut off"},
}
"""What the attackers may get."""
SURVIVED = (
    "crafted-mp3s",
    "opus-tiny-packets",
    "ping-floods",
    "marker-floods",
    "resets",
    "frames-that-never-end",
)


@pytest.mark.parametrize("name", REFUSED)
def test_attackers_are_refused(server: ServedProcess, name: str) -> None:
    target = Target(server.port, server.wyoming_port, server.pid, PATIENCE, rounds=1)
    target.begin()
    ATTACKS[name].run(target)
    assert target.statuses
    assert set(target.statuses) <= REFUSED[name]


@pytest.mark.parametrize("name", SURVIVED)
def test_attacks_are_survived(server: ServedProcess, name: str) -> None:
    target = Target(server.port, server.wyoming_port, server.pid, FLOOD_SECONDS)
    target.begin()
    ATTACKS[name].run(target)
    assert server.alive


def test_the_benchmark_reports_an_attack(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    options = ["--only", "tls-to-a-plain-port", "--seconds", "1", "--json", str(found)]
    command = [sys.executable, "-m", "benchmarks.attack", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(found.read_text())
    assert row["statuses"]["400"]
    assert row["health"]["count"]
    assert not row["lost"]
    assert "tls-to-a-plain-port" in done.stdout
