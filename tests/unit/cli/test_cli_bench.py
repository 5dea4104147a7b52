"""`bench`: what a frame of a bundle costs here, every ring full."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import Command

from kyutai_onnx.models.families import FAMILIES
from kyutai_onnx.models.frame_benchmark import LATE, FrameBenchmark
from kyutai_onnx.models.resolve import locate, open_folder

HEARS, THINKS, SAYS = "mimi_encoder", "temporal_transformer", "mimi_decoder"
PARTS = {
    "stt": [HEARS, THINKS],
    "tts": [THINKS, "depth_transformer", SAYS],
    "hibiki": [HEARS, THINKS, "depth_transformer", SAYS],
}


def demo(task: str) -> Path:
    return locate(None, FAMILIES[task]).path


@pytest.mark.parametrize("task", PARTS)
def test_every_graph_of_a_frame_is_timed(task: str, command: Command) -> None:
    reported = command("bench", "--model", demo(task), "--frames", 5, "--threads", 1, "--json")
    figures = json.loads(reported.out)
    assert (reported.code, reported.err) == (0, "")
    assert list(figures["graphs_ms"]) == PARTS[task]
    assert (figures["family"], figures["frames"], figures["threads"]) == (task, 5, 1)
    assert 0 < sum(figures["graphs_ms"].values()) < 2 * figures["frame_ms"]
    assert figures["times_real_time"] == pytest.approx(80 / figures["frame_ms"], rel=1e-3)
    assert figures["keeps_up"] == (figures["frame_p99_ms"] <= 80)


def test_the_table_says_how_many_times_real_time_it_runs(command: Command) -> None:
    reported = command("bench", "--frames", 3, "--batch", 2)
    lines = reported.out.splitlines()
    assert reported.code == 0
    assert "embedded demo" in reported.err
    assert "2 streams, every ring full" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "mimi encoder",
        "temporal transformer",
        "the rest",
        "a frame",
    ]
    assert "times real time" in lines[6]
    assert lines[7].startswith("open in ")


def test_rings_are_full_in_every_row_and_every_half(command: Command) -> None:
    loop = FrameBenchmark(open_folder(demo("hibiki")), batch=2, guided=True)
    assert loop.model is not None
    generator = loop._generator
    assert generator is not None
    capacity = loop.model.spec.context
    for row in range(2):
        saved = generator.save(row)
        for half in (saved, saved["guidance"]):
            for spec in loop.model.temporal.spec.states:
                if spec.ring is not None:
                    ring = half["transformer"][spec.input]
                    assert ring.shape[spec.ring.axis - 1] == capacity
                    assert ring.std() > 0.01
                    assert int(half["transformer"][spec.ring.position]) > LATE
    guided = json.loads(
        command("bench", "--model", demo("hibiki"), "--guided", "--frames", 2, "--json").out
    )
    assert guided["streams"] == 1


def test_fewer_codebooks_are_made_and_decoded() -> None:
    loop = FrameBenchmark(open_folder(demo("tts")), codebooks=2, threads=1)
    assert loop.model is not None
    assert loop.model.depth is not None
    assert [port.name for port in loop.model.depth.spec.outputs] == ["codes.0", "codes.1"]
    assert np.isfinite(loop.time(2).total).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--codebooks", 99], "99 codebooks"), (["--provider", "cuda"], "CUDAExecutionProvider")],
)
def test_what_cannot_run_is_reported_in_one_line(
    arguments: list[object], said: str, command: Command
) -> None:
    reported = command("bench", "--model", demo("tts"), *arguments)
    assert reported.code in (2, 5)
    assert said in reported.error
