"""States and outputs in memory that numpy does not reach: the same numbers, and nothing more copied
than is asked for. The device is the processor's own memory, held by ONNX Runtime."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from support.toy_codec import Array, Toy, remembered

from kyutai_onnx.models.families import SERVED
from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.models.lm.generation import Generator
from kyutai_onnx.models.lm.language_model import LanguageModel
from kyutai_onnx.models.resolve import embedded_demo, open_folder
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph import buffers as memory
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.buffers import COPY, DeviceBuffer
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS

DEVICE = replace(PROVIDERS["cpu"], memory="device")
FAMILIES = pytest.mark.parametrize("family", ["stt", "tts", "hibiki"])


def demo(family: str) -> Bundle:
    return open_folder(embedded_demo(SERVED[family]).path)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is read of ONNX Runtime's memory is a copy, as of a device's; and all of it is filled
    row by row."""
    read = onnxruntime.OrtValue.numpy
    monkeypatch.setattr(onnxruntime.OrtValue, "numpy", lambda value: read(value).copy())
    monkeypatch.setattr(memory, "FILLED_AT_ONCE", 0)
    memory._copier.cache_clear()
    yield
    memory._copier.cache_clear()


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on models are opened on the device."""
    return lambda: monkeypatch.setitem(PROVIDERS, "cpu", DEVICE)


def test_the_model_that_copies_is_what_it_says() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
        copy (uint8[n] source) => (uint8[n] target) { target = Identity(source) }"""
    assert onnx.parser.parse_model(text).SerializeToString(deterministic=True) == COPY


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
@pytest.mark.parametrize("row", [(), (5,), (2, 3, 4)], ids=str)
def test_rows_of_a_device_are_read_and_written_alone(dtype: str, row: tuple[int, ...]) -> None:
    buffer = DeviceBuffer((4, *row), dtype, DEVICE, initial=1)
    expected = np.ones((4, *row), dtype)
    noise = np.random.default_rng(0)
    for index in (2, 0, 3):
        value = noise.integers(0, 100, row).astype(dtype)
        buffer.write_rows([index], value)
        expected[index] = value
        np.testing.assert_array_equal(buffer.read_row(index), value)
        np.testing.assert_array_equal(np.asarray(buffer), expected)
    buffer.write_rows([0, 1], np.asarray(0))
    expected[:2] = 0
    np.testing.assert_array_equal(buffer.read(), expected)
    assert buffer.read_row(1).dtype == dtype
    for outside in (-1, 4):
        with pytest.raises(IndexError, match=f"row {outside} of 4"):
            buffer.read_row(outside)


def graph_on_device(toy: Toy, folder: Path) -> Graph:
    graph = toy.graph(folder)
    graph.provider = DEVICE
    return graph


@pytest.mark.parametrize("carry", ["in_place", "replace"])
def test_streams_on_a_device_do_what_they_do_elsewhere(carry: str, tmp_path: Path) -> None:
    here = BatchState(Toy(carry=carry).graph(tmp_path / "here"), 3)
    there = BatchState(graph_on_device(Toy(native=False, carry=carry), tmp_path / "there"), 3)
    chance = np.random.default_rng(0)
    for turn in range(120):
        pcm = chance.integers(-9, 10, (3, 1, 2 * int(chance.integers(1, 4)))).astype(np.float32)
        active = chance.random(3) < 0.7
        ours, theirs = (streams.step({"pcm": pcm}, active) for streams in (there, here))
        np.testing.assert_array_equal(ours["codes"][active], theirs["codes"][active], str(turn))
        for row in np.flatnonzero(chance.random(3) < 0.1).tolist():
            here.reset([row])
            there.reset([row])
        if turn % 7 == 0:
            exchange(here, there, turn % 3)
    here.reset()
    there.reset()
    for row in range(3):
        assert_same(remembered(there.save(row)), remembered(here.save(row)))


def exchange(here: BatchState, there: BatchState, row: int) -> None:
    """Saves a row of both, loads each where the other was."""
    ours, theirs = there.save(row), here.save(row)
    assert_same(remembered(ours), remembered(theirs))
    there.load(row, theirs)
    here.load(row, ours)


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


def run(family: str) -> tuple[list[Array], dict[str, Any]]:
    """The frames of 40 steps of two streams, rows held, reset and saved; and a row at last."""
    loop = FrameBenchmark(demo(family), batch=2, threads=1, guided=family == "hibiki")
    generator, frames = loop._generator, []
    assert generator is not None
    hears = generator.model.spec.n_q - generator.model.spec.dep_q
    noise = np.random.default_rng(0)
    for step in range(40):
        codes = noise.integers(0, 16, (2, hears))
        made = generator.step(codes, np.array([True, step % 5 != 2]))
        frames += [made.frame.copy(), made.text, made.scores[0]]
        if made.hidden is not None:
            frames.append(np.asarray(made.hidden)[0].copy())
        loop.step()
        if step == 10:
            generator.begin(0, generator._rows[0].sampling)
        if step % 8 == 0:
            generator.load(1, generator.save(1))
    assert loop._encoded is None or loop._encoded.save(0)
    return frames, generator.save(1)


@FAMILIES
def test_a_model_on_a_device_makes_what_it_makes_elsewhere(
    family: str, on_device: Callable[[], None]
) -> None:
    expected, state = run(family)
    on_device()
    found, its_state = run(family)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_same(its_state["transformer"], state["transformer"])


class Counted:
    """Counts the bytes that cross between the host and the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes: dict[str, int] = {}
        for name in ("read", "write", "read_row", "write_rows"):
            monkeypatch.setattr(DeviceBuffer, name, self._counting(name))

    def _counting(self, name: str) -> Any:
        plain = getattr(DeviceBuffer, name)

        def count(buffer: DeviceBuffer, *arguments: Any) -> Any:
            row = buffer._row_bytes
            rows = len(list(arguments[0])) if name == "write_rows" else 1
            size = row * (rows if "row" in name else buffer.shape[0])
            self.bytes[name] = self.bytes.get(name, 0) + size
            return plain(buffer, *arguments)

        return count


def test_states_stay_on_the_device(
    on_device: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device()
    model = LanguageModel(demo("hibiki"), threads=1)
    assert model.depth is not None
    generator = Generator(model, 3)
    codes = np.zeros((3, model.spec.n_q - model.spec.dep_q), np.int64)
    generator.step(codes)
    crossed = Counted(monkeypatch)
    generator.step(codes)
    ports = (*model.temporal.spec.outputs, *model.depth.spec.outputs)
    fetched = [port for port in ports if port.name != "hidden"]
    sizes = [np.dtype(port.dtype).itemsize * int(np.prod(port.shape[1:])) for port in fetched]
    assert crossed.bytes.pop("read") == 3 * sum(sizes)
    given = (*model.temporal.spec.inputs, *model.depth.spec.inputs)
    names = {port.name for port in given}
    assert "hidden" in names
    fed = [port for port in given if port.name != "hidden"]
    fed += [model.temporal.spec.active, model.depth.spec.active]
    sizes = [np.dtype(port.dtype).itemsize * int(np.prod(port.shape[1:])) for port in fed]
    assert crossed.bytes == {"write": 3 * sum(sizes)}


def test_a_row_begins_without_touching_the_others(
    on_device: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device()
    graph = LanguageModel(demo("stt"), threads=1).temporal
    streams = BatchState(graph, 4)
    crossed = Counted(monkeypatch)
    streams.reset([2])
    kept = [s for s in graph.spec.states if s.ring is None and s.carry != "constant"]
    sizes = [np.dtype(s.dtype).itemsize * int(np.prod(s.shape[1:])) for s in kept]
    assert crossed.bytes == {"write_rows": sum(sizes)}
