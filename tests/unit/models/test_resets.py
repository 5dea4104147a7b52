"""A row that is reset depends on nothing that was in it, NaN included."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.speech import Array

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.batch import Batch
from kyutai_onnx.models.resolve import DEMO, open_folder
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.batch_state import BatchState, PipelineState
from kyutai_onnx.runtime.graph.graph import GraphPipeline
from kyutai_onnx.runtime.providers.provider import PROVIDERS

LATE = 100_000


def poison(states: dict[str, Array], bundle: Bundle) -> dict[str, Array]:
    """The states of a row, all that are floats full of NaN, long after its beginning."""
    specs = [spec for graph in bundle.manifest.graphs.values() for spec in graph.states]
    for spec in (spec for spec in specs if spec.input in states and spec.dtype.startswith("float")):
        shape = list(states[spec.input].shape)
        if spec.ring is not None:
            shape[spec.ring.axis - 1] = spec.capacity
            states[spec.ring.position] = np.asarray(LATE, np.int64)
        states[spec.input] = np.full(shape, np.nan, spec.dtype)
    return states


def poison_row(batch: Batch[Any], place: int, bundle: Bundle) -> None:
    """All that the graphs of a batch remember of a row."""
    assert batch.encoder is not None
    batch.encoder.load(place, poison(batch.encoder.save(place), bundle))
    saved = batch.generator.save(place)
    poison(saved["transformer"], bundle)
    batch.generator.load(place, saved)


def recognized(model: SpeechToText, pcm: Array) -> list[Any]:
    stream = model.stream()
    return [*stream.feed(pcm), *stream.flush()]


@pytest.mark.parametrize("way", ["reset", "leave", "restart", "move"])
def test_a_poisoned_row_is_healed_and_its_neighbours_stay_as_they_are(
    way: str, model: SpeechToText, pcm: Array
) -> None:
    batch = model.batch(3)
    rows = [batch.join(model.task()) for _ in range(3)]
    for row in rows:
        row.feed(pcm[:20_000])
    while batch.step():
        pass
    poison_row(batch, 1, model.bundle)
    for row in (rows[0], rows[2]):
        row.feed(pcm[20_000:30_000])
    while batch.step():
        pass
    done = [0, 2]
    if way == "reset":
        rows[1].reset()
    elif way == "restart":
        rows[1].task.restart()
    else:
        batch.leave(rows[1])
    if way == "leave":
        rows[1] = batch.join(model.task())
    if way != "move":
        rows[1].feed(pcm)
        rows[1].end()
    for row in (rows[0], rows[2]):
        row.feed(pcm[30_000:])
        row.end()
    while batch.step():
        pass
    for index in done:
        assert rows[index].events() == recognized(model, pcm)
    if way in ("reset", "leave"):
        assert rows[1].events() == recognized(model, pcm)
    elif way == "restart":
        words = [event.text for event in recognized(model, pcm) if hasattr(event, "text")]
        assert [e.text for e in rows[1].events() if hasattr(e, "text")][-len(words) :] == words


def test_a_row_that_made_nan_ends_and_is_healed(model: SpeechToText, pcm: Array) -> None:
    batch = model.batch(1)
    row = batch.join(model.task())
    row.feed(pcm[:20_000])
    while batch.step():
        pass
    poison_row(batch, 0, model.bundle)
    row.feed(pcm[20_000:])
    while batch.step():
        pass
    with pytest.raises(Exception, match="NaN"):
        row.events()
    row.reset()
    row.feed(pcm)
    row.end()
    while batch.step():
        pass
    assert row.events() == recognized(model, pcm)


def test_the_codec_forgets_all_in_both_directions(pcm: Array) -> None:
    bundle = open_folder(DEMO / "tts")
    for names, given in (
        (bundle.manifest.codec.encoder, {"pcm": pcm[None, None, :1920]}),
        (bundle.manifest.codec.decoder, {"codes": np.ones((1, 8, 1), np.int64)}),
    ):
        chain = GraphPipeline(bundle, names, PROVIDERS["cpu"], 1)
        first, fresh = PipelineState(chain), PipelineState(chain)
        if "codes" in given:
            books = chain.graphs[0].spec.inputs[0].shape[1]
            given = {"codes": np.ones((1, int(books), 1), np.int64)}
        first.load(0, poison(first.save(0), bundle))
        first.step(given)
        first.reset()
        for _ in range(5):
            ours = {name: value.copy() for name, value in first.step(given).items()}
            theirs = fresh.step(given)
            assert all((ours[name] == theirs[name]).all() for name in ours)


def test_memory_of_a_row_that_never_ran_is_not_touched(tmp_path: Path) -> None:
    chain = GraphPipeline(Bundle.open(DEMO / "stt"), ["temporal_transformer"], PROVIDERS["cpu"], 1)
    streams = BatchState(chain.graphs[0], 2)
    written: list[int] = []
    for state in streams._states:
        state.clear = lambda row, *_: written.append(row)  # type: ignore[method-assign]
    streams.reset([1])
    assert written == []
