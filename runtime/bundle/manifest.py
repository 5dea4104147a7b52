"""The manifest of a bundle, `bundle.json`: all that a program needs to run its graphs.

`docs/bundle.schema.json` states the same for other languages, `docs/bundle.md` in words.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

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
    runs ahead. `voice_suffix` ends the names of the voices that fit the model, and is empty where a
    voice is given by speech of its own."""

    audio_delay_seconds: Seconds
    second_stream_ahead: Streams
    max_speakers: Few
    multistream: bool
    voice_suffix: Text


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
