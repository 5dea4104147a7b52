"""The manifest of a bundle, `bundle.json`: all that a program needs to run its graphs.

`docs/bundle.schema.json` states the same for other languages, `docs/bundle.md` in words. A manifest
is checked against itself when it is read, and against the graphs when they open: a contradiction
that is found there would fail later with a vaguer message.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import Annotated, Any, Literal

from ..errors import ModelError
from .dataclass_json import Between, OneLine

FORMAT = "kyutai-onnx"
FORMAT_VERSION = 1
FILE_NAME = "bundle.json"
REMEDY = "export or download the bundle again"
"""What to do about a manifest or a file that is damaged."""

Family = Literal["mimi", "stt", "tts", "hibiki", "moshi"]
Target = Literal["cpu", "cuda", "directml", "webgpu", "coreml"]
Flavour = Literal["native", "portable", "coreml"]
Precision = Literal["fp32", "fp16", "int8", "int4"]
Dtype = Literal["float32", "float16", "int64", "bool", "uint8", "int8"]

Text = Annotated[str, OneLine()]
Bytes = Annotated[int, Between(0, 1 << 50)]
Hertz = Annotated[int, Between(1, 768_000)]
Samples = Annotated[int, Between(1, 1_000_000)]
FrameRate = Annotated[float, Between(0.01, 10_000)]
Seconds = Annotated[float, Between(0, 600)]
Frames = Annotated[int, Between(1, 4096)]
Delay = Annotated[int, Between(0, 4096)]
Streams = Annotated[int, Between(0, 256)]
Few = Annotated[int, Between(1, 256)]
Width = Annotated[int, Between(1, 1 << 20)]
Classes = Annotated[int, Between(0, 1 << 20)]
Vocabulary = Annotated[int, Between(1, 1 << 24)]
Token = Annotated[int, Between(-2, 1 << 24)]
Code = Annotated[int, Between(0, 1 << 20)]
Loudness = Annotated[float, Between(-70, 0)]
Temperature = Annotated[float, Between(0, 100)]
Count = Annotated[int, Between(0, (1 << 31) - 1)]
Initial = Annotated[float, Between(-65_504, 65_504)]
"""Bounds that no model comes near, within which nothing overflows or takes all memory."""

MOST_EXTENT = 1 << 24
"""Of an axis."""
MOST_ELEMENTS = 1 << 28
"""Of one row of a tensor, in a call of `max_frames`."""
MOST_AXES = 8
MOST_ROWS = 4096


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle, or of the repository it was made from."""

    sha256: Text
    bytes: Bytes


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    repository: Text
    revision: Text | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    model_id: dict[str, Any] | None = None


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    An axis is a number, `batch`, `frames`, or a multiple of frames such as `1920*frames`.
    """

    name: Text
    dtype: Dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Ring:
    """A ring along `axis`: entry `t` of the stream lies at slot `t % capacity`, and the state named
    `position` counts the entries so far. Slots that it does not cover are never read. The capacity
    is the axis' extent, less the slot behind the ring of a state whose `carry` is `append`."""

    axis: Few
    position: Text


@dataclass(frozen=True)
class StateSpec:
    """A state: an input that the next step gets from an output.

    `carry` is `replace` if the output is a new tensor; `in_place` if the graph is safe with one
    buffer as both; `constant` if there is no output: the host sets it once for a row, and the row
    keeps it; `append` if it is a ring and the graph writes its one new entry behind it, in place:
    in the last slot, from which the host moves it to its own, for rows that are not held.

    A row is reset by filling it with `initial`; for a `ring`, resetting its position is enough; a
    constant stays.
    """

    input: Text
    dtype: Dtype
    shape: tuple[int | str, ...]
    output: Text | None = None
    initial: Initial = 0.0
    carry: Literal["replace", "in_place", "constant", "append"] = "replace"
    ring: Ring | None = None

    @property
    def capacity(self) -> int:
        """Entries that the ring holds."""
        assert self.ring is not None
        return int(self.shape[self.ring.axis]) - (self.carry == "append")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(axis_extent(axis, 1, 1) for axis in self.shape[1:])


@dataclass(frozen=True)
class GraphSpec:
    """One ONNX graph: pure, `(inputs, active, states) -> (outputs, states)`.

    `active` is the input that says which rows are stepped, by true or 1.0 in each element of a row;
    a held row's states stay as they are and its outputs mean nothing. `max_frames` is how many
    frames a call may bring. `runs_on` is set if the graph does not run on the bundle's target.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    active: TensorSpec
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...]
    data: str | None = None
    max_frames: Frames = 1
    runs_on: Target | None = None


@dataclass(frozen=True)
class Audio:
    """The codec's audio: rates in Hz, `frame_size` in samples."""

    sample_rate: Hertz
    channels: Few
    frame_size: Samples
    frame_rate: FrameRate


@dataclass(frozen=True)
class Codec:
    """Mimi: `encoder` and `decoder` name the graphs to run one after the other, the outputs of one
    being inputs of the next by their names."""

    codebooks: Few
    cardinality: Width
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Tokens:
    """Token ids with a meaning of their own."""

    text_initial: Token
    audio_initial: Token
    text_padding: Token
    text_end_of_padding: Token
    zero: Token = -1
    ungenerated: Token = -2


@dataclass(frozen=True)
class Conditioner:
    """What a stream may be conditioned on. Of a `lut` it is one of `values`, or, without those, a
    text whose SHA-256 modulo `bins` is its entry; of a `tensor`, `length` vectors of `dim`."""

    kind: Literal["lut", "tensor"]
    values: tuple[Text, ...] | None = None
    bins: Width | None = None
    length: Width | None = None
    dim: Width | None = None


@dataclass(frozen=True)
class LanguageModel:
    """The model over `1 + n_q` streams, text first; `temporal`, `depth` and `conditions` name its
    graphs.

    `delays` has one entry a stream, in frames. `extra_heads` is how many heads there are, each a
    distribution over `extra_head_classes`; of head 2, class 0 is the probability of a pause. With
    `second_text_stream` a text token stands for two: `t % (text_card + 1)`, and
    `t // (text_card + 1) - 1`, none where that is negative. The outputs of `conditions` are
    constants of `temporal`, by their names.
    """

    temporal: str
    n_q: Streams
    dep_q: Streams
    card: Width
    text_card: Vocabulary
    context: Width
    delays: tuple[Delay, ...]
    tokens: Tokens
    extra_heads: Streams = 0
    extra_head_classes: Classes = 0
    depth: str | None = None
    conditions: str | None = None
    conditioners: dict[Text, Conditioner] = field(default_factory=dict)
    second_text_stream: bool = False


@dataclass(frozen=True)
class Sampling:
    """Defaults of the repository; a temperature of 0 is greedy."""

    temp: Temperature = 0.8
    temp_text: Temperature = 0.7
    top_k: Count = 250
    top_k_text: Count = 25


@dataclass(frozen=True)
class SpeechToTextSettings:
    """Seconds of silence before the audio, and by which the text lags behind it."""

    audio_delay_seconds: Seconds
    audio_silence_prefix_seconds: Seconds


@dataclass(frozen=True)
class TextToSpeechSettings:
    """How speech follows text: seconds by which it lags, and words by which the second text stream
    runs ahead. `voice_suffix` ends the names of the voices that fit the model, and is empty if a
    voice is given by speech of its own."""

    audio_delay_seconds: Seconds
    second_stream_ahead: Streams
    max_speakers: Few
    multistream: bool
    voice_suffix: Text


@dataclass(frozen=True)
class PromptSettings:
    """What may come before a conversation: a voice, `pause_frames`, a role between two
    `role_mark`s, and `pause_frames` again, each frame a step.

    Meanwhile the model's own codes are those of the voice, else `silence`, those that it reads are
    `partner`, one a codebook, and its text is padding but for the role. The voice is a recording,
    brought to a `loudness` in LUFS.
    """

    silence: tuple[Code, ...]
    partner: tuple[Code, ...]
    pause_frames: Delay
    role_mark: Text
    loudness: Loudness


@dataclass(frozen=True)
class Quantization:
    """Weights in blocks along the input axis, with smaller blocks if a row is no multiple of them;
    the text and extra heads may keep more bits."""

    bits: Few
    block_size: Width
    symmetric: bool
    head_bits: Few
    head_symmetric: bool
    head_block_size: Width = 32


@dataclass(frozen=True)
class Manifest:
    """The whole of `bundle.json`."""

    format: str
    format_version: int
    minimum_onnxruntime: str
    generator: Text
    name: Text
    family: Family
    source: Source
    target: Target
    flavour: Flavour
    precision: Precision
    audio: Audio
    codec: Codec
    graphs: dict[Text, GraphSpec]
    files: dict[str, FileEntry]
    quantization: Quantization | None = None
    lm: LanguageModel | None = None
    sampling: Sampling | None = None
    stt: SpeechToTextSettings | None = None
    tts: TextToSpeechSettings | None = None
    prompt: PromptSettings | None = None
    tokenizer: str | None = None


def is_bundle(folder: Path) -> bool:
    """Whether a folder has a manifest. A name that the system cannot have, such as one that is too
    long, names no bundle."""
    try:
        return (folder / FILE_NAME).is_file()
    except OSError:
        return False


def is_inside(name: str) -> bool:
    """Whether the name of a file stays inside its folder and can exist, on every system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    plain = not name.startswith("/") and not FORBIDDEN.search(name)
    return plain and bool(parts) and len(name) <= 1000 and not any(map(_is_odd, parts))


def _is_odd(part: str) -> bool:
    """Whether a part of a path means another one to Windows, or is too long for Linux."""
    return part[-1] in ". " or DEVICE.match(part) is not None or len(part) > 200


def axis_extent(axis: int | str, batch: int, frames: int) -> int:
    """The extent of a manifest axis for a number of rows and of frames."""
    if isinstance(axis, int):
        return axis
    factor, _, name = axis.rpartition("*")
    return int(factor or 1) * {"batch": batch, "frames": frames}[name]


FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]')
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
"""Names that Windows takes for a device, in any folder and with any ending."""
AXIS = re.compile(r"batch|([1-9][0-9]{0,6}\*)?frames")


def is_axis(axis: int | str) -> bool:
    """Whether an axis is written as `TensorSpec` says."""
    return 0 < axis <= MOST_EXTENT if isinstance(axis, int) else AXIS.fullmatch(axis) is not None


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
    if manifest.prompt is not None:
        _check_prompt(manifest.prompt, manifest.lm)
    for name in NEEDED.get(manifest.family, ()):
        given = getattr(manifest, name) is not None
        _require(given, f"{name}: missing, and family {manifest.family} needs it")


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


def _check_prompt(prompt: PromptSettings, lm: LanguageModel | None) -> None:
    _require(lm is not None, "prompt: there is no lm to give it to")
    assert lm is not None
    sides = {"silence": (prompt.silence, lm.dep_q), "partner": (prompt.partner, lm.n_q - lm.dep_q)}
    for name, (codes, codebooks) in sides.items():
        fits = len(codes) == codebooks and max(codes, default=0) < lm.card
        _require(fits, f"prompt.{name}: expected {codebooks} codes below {lm.card}")
    own = lm.delays[1 : 1 + lm.dep_q]
    _require(
        list(own) == sorted(own), "prompt: a codebook is delayed less than one before it in lm"
    )


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
