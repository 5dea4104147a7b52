"""The manifest of a bundle, `bundle.json`: all that a program needs to run its graphs.

`docs/bundle.schema.json` states the same for other languages, `docs/bundle.md` in words.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT = "kyutai-onnx"
FORMAT_VERSION = 1
FILE_NAME = "bundle.json"

Family = Literal["mimi", "stt", "tts", "hibiki", "moshi"]
Target = Literal["cpu", "cuda", "directml", "webgpu", "coreml"]
Flavour = Literal["native", "portable", "coreml"]
Precision = Literal["fp32", "fp16", "int8", "int4"]
Dtype = Literal["float32", "float16", "int64", "bool", "uint8", "int8"]


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle, or of the repository it was made from."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    repository: str
    revision: str | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    model_id: dict[str, Any] | None = None


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    An axis is a number, `batch`, `frames`, or a multiple of frames such as `1920*frames`.
    """

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Ring:
    """A ring along `axis`: entry `t` of the stream lies at slot `t % capacity`, and the state named
    `position` counts the entries so far. Slots that it does not cover are never read. The capacity
    is the axis' extent, less the slot behind the ring of a state whose `carry` is `append`."""

    axis: int
    position: str


@dataclass(frozen=True)
class StateSpec:
    """A state: an input that the next step gets from an output.

    `carry` is `replace` where the output is a new tensor, `in_place` where the graph is safe with
    one buffer as both, `constant` where there is no output: the host gives it to a row once, and
    the row keeps it, `append` where it is a ring that the graph writes its one new entry behind,
    in place: in the last slot, from which the host moves it to its own, of rows that are not held.
    A row is reset by filling it with `initial`; of a `ring`, resetting its position is enough; a
    constant stays.
    """

    input: str
    dtype: Dtype
    shape: tuple[int | str, ...]
    output: str | None = None
    initial: float = 0.0
    carry: Literal["replace", "in_place", "constant", "append"] = "replace"
    ring: Ring | None = None

    @property
    def capacity(self) -> int:
        """Entries that the ring holds."""
        assert self.ring is not None
        return int(self.shape[self.ring.axis]) - (self.carry == "append")


@dataclass(frozen=True)
class GraphSpec:
    """One ONNX graph: pure, `(inputs, active, states) -> (outputs, states)`.

    `active` is the input that says which rows are stepped, by true or 1.0 in each element of a row;
    a held row's states stay as they are and its outputs mean nothing. `max_frames` is how many
    frames a call may bring. `runs_on` is set where the graph does not run on the bundle's target.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    active: TensorSpec
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...]
    data: str | None = None
    max_frames: int = 1
    runs_on: Target | None = None


@dataclass(frozen=True)
class Audio:
    """The codec's audio: rates in Hz, `frame_size` in samples."""

    sample_rate: int
    channels: int
    frame_size: int
    frame_rate: float


@dataclass(frozen=True)
class Codec:
    """Mimi: `encoder` and `decoder` name the graphs to run one after the other, the outputs of one
    being inputs of the next by their names."""

    codebooks: int
    cardinality: int
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Tokens:
    """Token ids with a meaning of their own."""

    text_initial: int
    audio_initial: int
    text_padding: int
    text_end_of_padding: int
    zero: int = -1
    ungenerated: int = -2


@dataclass(frozen=True)
class Conditioner:
    """What a stream may be conditioned on. Of a `lut` it is one of `values`, or, without those, a
    text whose SHA-256 modulo `bins` is its entry; of a `tensor`, `length` vectors of `dim`."""

    kind: Literal["lut", "tensor"]
    values: tuple[str, ...] | None = None
    bins: int | None = None
    length: int | None = None
    dim: int | None = None


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
    n_q: int
    dep_q: int
    card: int
    text_card: int
    context: int
    delays: tuple[int, ...]
    tokens: Tokens
    extra_heads: int = 0
    extra_head_classes: int = 0
    depth: str | None = None
    conditions: str | None = None
    conditioners: dict[str, Conditioner] = field(default_factory=dict)
    second_text_stream: bool = False


@dataclass(frozen=True)
class Sampling:
    """Defaults of the repository; a temperature of 0 is greedy."""

    temp: float = 0.8
    temp_text: float = 0.7
    top_k: int = 250
    top_k_text: int = 25


@dataclass(frozen=True)
class SpeechToText:
    """Seconds of silence before the audio, and by which the text lags behind it."""

    audio_delay_seconds: float
    audio_silence_prefix_seconds: float


@dataclass(frozen=True)
class TextToSpeech:
    """How speech follows text: seconds by which it lags, and words by which the second text stream
    runs ahead. `voice_suffix` ends the names of the voices that fit the model, and is empty where a
    voice is given by speech of its own."""

    audio_delay_seconds: float
    second_stream_ahead: int
    max_speakers: int
    multistream: bool
    voice_suffix: str


@dataclass(frozen=True)
class Quantization:
    """Weights in blocks along the input axis, smaller ones where a row is no multiple of them; the
    text and extra heads may keep more bits."""

    bits: int
    block_size: int
    symmetric: bool
    head_bits: int
    head_symmetric: bool
    head_block_size: int = 32


@dataclass(frozen=True)
class Manifest:
    """The whole of `bundle.json`."""

    format: str
    format_version: int
    minimum_onnxruntime: str
    generator: str
    name: str
    family: Family
    source: Source
    target: Target
    flavour: Flavour
    precision: Precision
    audio: Audio
    codec: Codec
    graphs: dict[str, GraphSpec]
    files: dict[str, FileEntry]
    quantization: Quantization | None = None
    lm: LanguageModel | None = None
    sampling: Sampling | None = None
    stt: SpeechToText | None = None
    tts: TextToSpeech | None = None
    tokenizer: str | None = None


def is_inside(name: str) -> bool:
    """Whether the name of a file stays inside its folder and can exist, on every system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    plain = not name.startswith("/") and not FORBIDDEN.search(name)
    return plain and bool(parts) and len(name) <= 1000 and not any(map(_is_odd, parts))


def _is_odd(part: str) -> bool:
    """Whether a part of a path means another one to Windows, or is too long for Linux."""
    return part[-1] in ". " or DEVICE.match(part) is not None or len(part) > 200


def axis_extent(axis: int | str, batch: int, frames: int) -> int:
    """The extent of a manifest axis for so many rows and frames."""
    if isinstance(axis, int):
        return axis
    factor, _, name = axis.rpartition("*")
    return int(factor or 1) * {"batch": batch, "frames": frames}[name]


FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]')
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
"""Names that Windows takes for a device, in any folder and with any ending."""
AXIS = re.compile(r"batch|([1-9][0-9]*\*)?frames")


def is_axis(axis: int | str) -> bool:
    """Whether an axis is written as `TensorSpec` says."""
    return axis > 0 if isinstance(axis, int) else AXIS.fullmatch(axis) is not None
