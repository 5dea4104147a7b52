"""Checks that a manifest agrees with itself, when it is read, and with the graphs, when they open.

A contradiction that is found here would fail later with a vaguer message.
"""

import re
from collections.abc import Sequence
from math import inf, prod
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .manifest import (
    MOST_AXES,
    MOST_ELEMENTS,
    MOST_ROWS,
    REMEDY,
    Conditioner,
    Family,
    GraphSpec,
    LanguageModel,
    Manifest,
    StateSpec,
    axis_extent,
    is_axis,
    is_inside,
)

VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,3}")

SPOKEN = ("lm", "sampling", "tokenizer")
NEEDED: dict[Family, tuple[str, ...]] = {
    "stt": (*SPOKEN, "stt"),
    "tts": (*SPOKEN, "tts"),
    "hibiki": SPOKEN,
    "moshi": SPOKEN,
}
"""Fields that a family cannot do without."""

HELD = {"bool": (0, 1), "uint8": (0, 255), "int8": (-128, 127), "int64": (-(2**16), 2**16)}
"""Initial values that integers may have."""

DEPTH_INPUTS = {
    "hidden",
    "text",
    "forced",
    "temperature",
    "noise",
    "conditioned",
    "null",
    "guidance",
}


def check_manifest(manifest: Manifest) -> None:
    """Raises ValueError, naming the place, if a manifest contradicts itself."""
    oldest = manifest.minimum_onnxruntime
    _require(VERSION.fullmatch(oldest), f"minimum_onnxruntime: {oldest!r} is not a version")
    for name in manifest.files:
        _require(is_inside(name), f"files: {name!r} points outside the bundle's folder")
    for name, graph in manifest.graphs.items():
        _check_graph(f"graphs.{name}", graph, manifest)
    _require(manifest.codec.encoder, "codec.encoder: names no graph")
    _check_chain("codec.encoder", manifest.codec.encoder, "pcm", "codes", manifest)
    _check_chain("codec.decoder", manifest.codec.decoder, "codes", "pcm", manifest)
    if manifest.lm is not None:
        _check_language_model(manifest.lm, manifest)
    tokenizer = manifest.tokenizer
    _require(tokenizer is None or tokenizer in manifest.files, "tokenizer: not among the files")
    if manifest.tts is not None:
        suffix = manifest.tts.voice_suffix
        _require(is_inside(f"a{suffix}") and "/" not in suffix, "tts.voice_suffix: no ending")
    for field in NEEDED.get(manifest.family, ()):
        given = getattr(manifest, field) is not None
        _require(given, f"{field}: missing, and family {manifest.family} needs it")


def _check_graph(place: str, graph: GraphSpec, manifest: Manifest) -> None:
    for file in filter(None, (graph.file, graph.data)):
        _require(file in manifest.files, f"{place}: {file!r} is not among the files")
    batch = graph.active.shape[0] if graph.active.shape else None
    rows = batch if isinstance(batch, int) else 1 if batch == "batch" else 0
    _require(1 <= rows <= MOST_ROWS, f"{place}.active: has no batch, or one of over {MOST_ROWS}")
    named = [(port.name, port.shape) for port in (graph.active, *graph.inputs, *graph.outputs)]
    named += [(state.input, state.shape) for state in graph.states]
    for name, shape in named:
        _require(all(map(is_axis, shape)), f"{place}: {name} has the shape {list(shape)}")
        _require(shape and shape[0] == batch, f"{place}: {name} does not begin with the batch")
        size = prod(axis_extent(axis, 1, graph.max_frames) for axis in shape[1:])
        small = len(shape) <= MOST_AXES and size <= MOST_ELEMENTS
        _require(small, f"{place}: {name} has the shape {list(shape)}, which is too large")
    positions = {s.input for s in graph.states if s.dtype == "int64" and len(s.shape) == 1}
    for state in graph.states:
        _check_state(place, state, positions)


def _check_state(place: str, state: StateSpec, positions: set[str]) -> None:
    inner, ring = state.shape[1:], state.ring
    given = state.carry == "constant"
    least, most = HELD.get(state.dtype, (-inf, inf))
    held = least <= state.initial <= most and (state.dtype not in HELD or state.initial % 1 == 0)
    _require(held, f"{place}: {state.input} is {state.dtype}, which does not hold {state.initial}")
    _require((state.output is None) == given, f"{place}: {state.input} and its output disagree")
    fixed = all(isinstance(axis, int) for axis in inner)
    _require(fixed, f"{place}: {state.input} has the shape {list(state.shape)}")
    _require(state.carry != "append" or ring, f"{place}: {state.input} appends to no ring")
    if ring is not None:
        _require(1 <= ring.axis <= len(inner), f"{place}: {state.input} has no axis {ring.axis}")
        known = ring.position in positions
        _require(known, f"{place}: {state.input} has no position {ring.position!r}")


def _check_chain(
    place: str, names: tuple[str, ...], taken: str, given: str, manifest: Manifest
) -> None:
    """Each graph of a chain must find its inputs among the outputs of the one before."""
    available = {taken}
    for name in names:
        graph = _graph(place, name, manifest)
        missing = {port.name for port in graph.inputs} - available
        _require(not missing, f"{place}: nothing gives {name} its {', '.join(sorted(missing))}")
        available = {port.name for port in graph.outputs}
    _require(not names or given in available, f"{place}: gives no {given}")


def _check_language_model(lm: LanguageModel, manifest: Manifest) -> None:
    _require(len(lm.delays) == lm.n_q + 1, f"lm.delays: expected {lm.n_q + 1}, one a stream")
    _require(lm.dep_q <= lm.n_q, f"lm.dep_q: {lm.dep_q}, more than the {lm.n_q} of lm.n_q")
    for name, card in (("text_initial", lm.text_card), ("audio_initial", lm.card)):
        token = getattr(lm.tokens, name)
        _require(0 <= token <= card, f"lm.tokens.{name}: expected 0 to {card}, found {token}")
    for name, conditioner in lm.conditioners.items():
        _check_conditioner(f"lm.conditioners.{name}", conditioner)
    _require(lm.dep_q == 0 or lm.depth, f"lm.depth: missing, and dep_q is {lm.dep_q}")
    graph = _graph("lm.temporal", lm.temporal, manifest)
    text = {"second_text"} if lm.second_text_stream else set()
    wanted = {"text_logits"} | ({"extra_heads"} if lm.extra_heads else set())
    wanted |= {"hidden"} if lm.depth else set()
    _check_io("lm.temporal", graph, {"tokens"} | text, wanted)
    if lm.depth:
        codes = {f"codes.{index}" for index in range(lm.dep_q)}
        _check_io("lm.depth", _graph("lm.depth", lm.depth, manifest), DEPTH_INPUTS | text, codes)
    constants = {state.input for state in graph.states if state.carry == "constant"}
    _require(lm.conditions or not constants, "lm.conditions: missing, and lm.temporal needs it")
    if lm.conditions:
        takes = set(lm.conditioners)
        takes |= {f"{n}.mask" for n, c in lm.conditioners.items() if c.kind == "tensor"}
        conditions = _graph("lm.conditions", lm.conditions, manifest)
        _check_io("lm.conditions", conditions, takes, constants)


def _check_conditioner(place: str, conditioner: Conditioner) -> None:
    if conditioner.kind == "tensor":
        _require(conditioner.length and conditioner.dim, f"{place}: has no length or no dim")
    else:
        _require(conditioner.values or conditioner.bins, f"{place}: has neither values nor bins")


def _check_io(place: str, graph: GraphSpec, takes: set[str], gives: set[str]) -> None:
    inputs = {port.name for port in graph.inputs}
    missing = gives - {port.name for port in graph.outputs}
    found, wanted = (", ".join(sorted(names)) for names in (inputs, takes))
    _require(inputs == takes, f"{place}: takes {found}, not {wanted}")
    _require(not missing, f"{place}: gives no {', '.join(sorted(missing))}")


def _graph(place: str, name: str, manifest: Manifest) -> GraphSpec:
    _require(name in manifest.graphs, f"{place}: {name!r} is not among the graphs")
    return manifest.graphs[name]


def _require(holds: object, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


PortShape = tuple[str, str, tuple[int | str, ...]]
"""A name, a type and a shape, as the manifest writes them."""

ELEMENTS = {"float": "float32"}
"""Types whose name in ONNX Runtime differs from the manifest's."""


def check_graph_io(file: Path, spec: GraphSpec, session: Any) -> None:
    """Compares the inputs and outputs of an open graph with the manifest: names, types, fixed axes.

    Raises ModelError for the first that differs.
    """
    inputs: list[PortShape] = [(p.name, p.dtype, p.shape) for p in (*spec.inputs, spec.active)]
    outputs: list[PortShape] = [(p.name, p.dtype, p.shape) for p in spec.outputs]
    inputs += [(state.input, state.dtype, state.shape) for state in spec.states]
    outputs += [(s.output, s.dtype, s.shape) for s in spec.states if s.output is not None]
    _compare(f"{file}: the input", inputs, session.get_inputs())
    _compare(f"{file}: the output", outputs, session.get_outputs())


def _compare(what: str, expected: Sequence[PortShape], found: Sequence[Any]) -> None:
    ports = {port.name: port for port in found}
    for name in sorted({name for name, *_ in expected} ^ set(ports)):
        where = "bundle.json" if name in ports else "the graph"
        raise ModelError(f"{what} {name} is not in {where}; {REMEDY}")
    for name, dtype, shape in expected:
        element = ports[name].type.removeprefix("tensor(").removesuffix(")")
        element = ELEMENTS.get(element, element)
        if element != dtype or not _fits(shape, ports[name].shape):
            raise ModelError(
                f"{what} {name} is {element} {ports[name].shape}, where bundle.json has {dtype} "
                f"{list(shape)}; {REMEDY}"
            )


def _fits(expected: Sequence[int | str], found: Sequence[int | str | None]) -> bool:
    """Any extent fits an axis that a graph leaves open, and any shape a graph without shapes."""
    if not found:
        return True
    pairs = zip(expected, found, strict=False)
    fixed = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    return len(expected) == len(found) and all(a == b for a, b in fixed)
