"""Checkpoints in quantised forms, each written by the rules of its own writer.

A writer takes tensors under the names of a layout and gives three sets: what it stores, what that
stands for (multiplied out in float32), and how far any of it may lie from what was given.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from support.checkpoints import MOSHI, SPEAKING, TEXT_ONLY, Json, State, lm_config, random_state
from torch import Tensor

from kyutai_onnx.conversion.checkpoint.layouts import canonical_lm
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.checkpoint.tensor_views import Tensors

WIDE: Json = {
    "dim": 64,
    "hidden_scale": 6,
    "depformer_dim": 64,
    "depformer_dim_feedforward": 96,
}
"""Widths that divide into every format's groups."""

DESCRIBED: Json = {
    "model_type": "hibiki",
    "conditioners": {
        "description": {
            "type": "lut",
            "lut": {"n_bins": 3, "dim": 64, "tokenizer": "noop", "possible_values": ["good"]},
        }
    },
    "fuser": {"sum": ["description"]},
}

CONDITIONED: Json = {
    "depformer_low_rank_embeddings": 64,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": 64}},
        "cfg": {"type": "lut", "lut": {"n_bins": 7, "dim": 64, "tokenizer": "noop"}},
    },
}

TRANSCRIBING = TEXT_ONLY | WIDE
TALKING = MOSHI | WIDE
TRANSLATING = MOSHI | WIDE | DESCRIBED
READING = SPEAKING | WIDE | CONDITIONED

HALF = 2.0**-11
"""Half a unit in the last place of float16, relative."""

BRAIN_HALF = 2.0**-9
"""The same of bfloat16."""


@dataclass
class Written:
    """Tensors as they are stored, what they stand for, and how far off that may be."""

    stored: State = field(default_factory=dict)
    decoded: State = field(default_factory=dict)
    bound: State = field(default_factory=dict)

    def add(self, name: str, stored: State, decoded: Tensor, bound: Tensor) -> None:
        self.stored |= {key: tensor.contiguous() for key, tensor in stored.items()}
        self.decoded[name] = decoded
        self.bound[name] = bound.expand(decoded.shape)

    def keep(self, name: str, tensor: Tensor, dtype: torch.dtype = torch.bfloat16) -> None:
        self.add(name, {name: tensor.to(dtype)}, tensor, torch.zeros(()))


def assert_read_back(lm: Tensors | None, written: Written, state: State, values: Json) -> None:
    """Every canonical tensor is what was stored, to the bit, and near enough to the original."""
    assert lm is not None
    decoded = canonical_lm(InMemory(written.decoded), lm_config(values))
    bound = canonical_lm(InMemory(written.bound), lm_config(values))
    assert dict(lm.shapes()) == {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, original in state.items():
        found = lm.read(name)
        assert found.dtype == np.float32
        assert np.array_equal(found, decoded.read(name)), name
        assert np.all(np.abs(found - original.numpy()) <= bound.read(name)), name
        assert np.array_equal(lm.read(name, slice(1, 3)), found[1:3]), name


def worst(lm: Tensors, state: State) -> float:
    """The largest error, relative to the largest weight of its row."""
    errors = [
        (torch.from_numpy(lm.read(name)) - tensor).abs().amax(-1) / tensor.abs().amax(-1)
        for name, tensor in state.items()
    ]
    return max(float(error.max()) for error in errors)


TABLE = re.compile(r"(^|\.|_)(emb|embed)(\.\d+)?\.weight$")


def is_linear(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is the weight of an nn.Linear, not a table of embeddings."""
    return tensor.ndim == 2 and not TABLE.search(name)


def bitsandbytes(state: State) -> Written:
    """moshi utils/quantize.py: every nn.Linear as rows of int8, by `int8_vectorwise_quant`."""
    written = Written()
    for name, tensor in state.items():
        if not is_linear(name, tensor):
            written.keep(name, tensor)
            continue
        half = tensor.half()
        scales = half.abs().amax(1).float()
        codes = torch.round(half * (127.0 / scales.unsqueeze(1))).to(torch.int8)
        decoded = codes.float() * scales.unsqueeze(1) / 127
        bound = scales.unsqueeze(1) / 254 * (1 + 1e-5) + 2.0**-25
        written.add(name, {name: codes, f"{name}_scb": scales}, decoded, bound)
    return written


def mlx_quantized(state: State, bits: int, group: int) -> Written:
    """mlx.nn.quantize of all linear layers and embeddings: the affine rule of `mlx.quantize`."""
    written = Written()
    for name, tensor in state.items():
        if tensor.ndim != 2:
            written.keep(name, tensor)
            continue
        groups = tensor.reshape(len(tensor), -1, group)
        low, high = groups.amin(-1), groups.amax(-1)
        scale = ((high - low) / (2**bits - 1)).clamp_min(1e-7)
        scale = torch.where(low.abs() > high.abs(), scale, -scale)
        edge = torch.where(low.abs() > high.abs(), low, high)
        zero = torch.round(edge / scale)
        scale = torch.where(zero == 0, scale, edge / zero)
        bias = torch.where(zero == 0, 0.0, edge)
        codes = torch.round((groups - bias[..., None]) / scale[..., None]).clamp(0, 2**bits - 1)
        base = name.removesuffix(".weight")
        parts = {f"{base}.scales": scale.bfloat16(), f"{base}.biases": bias.bfloat16()}
        stored_scale, stored_bias = (part.float()[..., None] for part in parts.values())
        decoded = (codes * stored_scale + stored_bias).reshape(tensor.shape)
        rounding = (2**bits * scale.abs() + bias.abs()) * BRAIN_HALF
        bound = (scale.abs() + rounding).repeat_interleave(group, -1)
        written.add(name, {name: packed(codes, bits), **parts}, decoded, bound)
    return written


def packed(codes: Tensor, bits: int) -> Tensor:
    """`[rows, groups, group]` to uint32 `[rows, words]`, the first code in the lowest bits."""
    words = codes.to(torch.int64).reshape(len(codes), -1, 32 // bits)
    return (words << torch.arange(0, 32, bits)).sum(-1).to(torch.uint32)


Blocks = tuple[bytes, Tensor, Tensor]
"""Packed blocks, what they stand for `[blocks, 32]`, and how far off that may be `[blocks, 1]`."""


def q8_0(blocks: Tensor) -> Blocks:
    """candle quantized/k_quants.rs BlockQ8_0."""
    exact = blocks.abs().amax(1, keepdim=True) / 127
    scale = exact.half()
    codes = torch.round(blocks / torch.where(exact == 0, 1, exact)).to(torch.int8)
    bound = exact / 2 + 127 * exact * HALF
    return _bytes(scale, codes), codes.float() * scale.float(), bound


def q4_0(blocks: Tensor) -> Blocks:
    """BlockQ4_0: the value furthest from zero is -8."""
    return _signed(blocks, 4)


def q5_0(blocks: Tensor) -> Blocks:
    return _signed(blocks, 5)


def q4_1(blocks: Tensor) -> Blocks:
    """BlockQ4_1: from the least value to the greatest."""
    return _ranged(blocks, 4)


def q5_1(blocks: Tensor) -> Blocks:
    return _ranged(blocks, 5)


def _signed(blocks: Tensor, bits: int) -> Blocks:
    middle = 2 ** (bits - 1)
    furthest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    exact = furthest / -middle
    codes = (blocks / exact + middle + 0.5).floor().clamp(0, 2**bits - 1).to(torch.uint8)
    scale = exact.half()
    decoded = (codes.float() - middle) * scale.float()
    return _bytes(scale, *_nibbled(codes, bits)), decoded, exact.abs() * (1 + 2**bits * HALF)


def _ranged(blocks: Tensor, bits: int) -> Blocks:
    least, greatest = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    exact = (greatest - least) / (2**bits - 1)
    codes = ((blocks - least) / exact + 0.5).floor().clamp(0, 2**bits - 1).to(torch.uint8)
    scale, minimum = exact.half(), least.half()
    decoded = codes.float() * scale.float() + minimum.float()
    rounding = (2**bits * exact + least.abs()) * HALF
    return _bytes(scale, minimum, *_nibbled(codes, bits)), decoded, exact / 2 + rounding


def _nibbled(codes: Tensor, bits: int) -> list[Tensor]:
    low = codes & 15
    halves = low[:, :16] | low[:, 16:] << 4
    if bits == 4:
        return [halves]
    fifth = ((codes >> 4).to(torch.int64) << torch.arange(32)).sum(1, keepdim=True)
    return [fifth.to(torch.uint32), halves]


def _bytes(*parts: Tensor) -> bytes:
    rows = [part.contiguous().view(torch.uint8).reshape(len(part), -1) for part in parts]
    return torch.cat(rows, 1).numpy().tobytes()


@dataclass
class GgufTensor:
    """One tensor of a GGUF file: its type's number, its axes as torch has them, its bytes."""

    kind: int
    shape: tuple[int, ...]
    data: bytes


BLOCK_KINDS: dict[str, tuple[int, Callable[[Tensor], Blocks]]] = {
    "Q4_0": (2, q4_0),
    "Q4_1": (3, q4_1),
    "Q5_0": (6, q5_0),
    "Q5_1": (7, q5_1),
    "Q8_0": (8, q8_0),
}
PLAIN_KINDS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}


def plain_gguf(tensor: Tensor) -> GgufTensor:
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return GgufTensor(PLAIN_KINDS[tensor.dtype], tuple(tensor.shape), data)


def gguf_quantized(state: State, kind: str = "Q8_0") -> tuple[dict[str, GgufTensor], Written]:
    """candle's tensor-tools `quantize`: matrices whose rows divide into blocks; the rest plain."""
    number, pack = BLOCK_KINDS[kind]
    written, tensors = Written(), {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or tensor.shape[1] % 32:
            written.keep(name, tensor)
            tensors[name] = plain_gguf(tensor)
            continue
        data, decoded, bound = pack(tensor.reshape(-1, 32))
        shape = tensor.shape
        written.add(name, {}, decoded.view(shape), bound.expand(-1, 32).reshape(shape))
        tensors[name] = GgufTensor(number, tuple(shape), data)
    return tensors, written


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_bytes(
    tensors: dict[str, GgufTensor],
    metadata: tuple[bytes, ...] = (),
    version: int = 2,
    alignment: int = 32,
) -> bytes:
    """candle quantized/gguf_file.rs `write`; `metadata` are whole entries."""
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    header += b"".join(metadata)
    data = b""
    for name, tensor in tensors.items():
        axes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
        header += gguf_text(name) + axes + struct.pack("<IQ", tensor.kind, len(data))
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return header + bytes(-len(header) % alignment) + data


def write_gguf(path: Path, tensors: dict[str, GgufTensor]) -> Path:
    path.write_bytes(gguf_bytes(tensors))
    return path


RANK = 2


def adapter_for(state: State, *names: str) -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        path, (dim_out, dim_in) = name.removesuffix(".weight"), state[name].shape
        shapes |= {
            f"{path}.lora_A.weight": (RANK, dim_in),
            f"{path}.lora_B.weight": (dim_out, RANK),
        }
    return random_state(shapes, seed=7)


TOML = """
mimi_name = "mimi.safetensors"
moshi_name = "hibiki.safetensors"
tokenizer_name = "tokenizer.model"

[model]
text_in_vocab_size = 21
text_out_vocab_size = 20
audio_vocab_size = 11
audio_codebooks = 6

[model.transformer]
d_model = 32
num_heads = 4
num_layers = 2
dim_feedforward = 128
causal = true
norm_first = true
bias_ff = false
bias_attn = false
context = 8
max_period = 100000
use_conv_block = false
use_conv_bias = true
gating = "silu"
norm = "RmsNorm"
positional_embedding = "Rope"
conv_layout = false
conv_kernel_size = 3
kv_repeat = 1
max_seq_len = 4096

[model.depformer]
num_slices = 4

[model.depformer.transformer]
d_model = 16
num_heads = 2
num_layers = 2
dim_feedforward = 48
causal = true
norm_first = true
bias_ff = false
bias_attn = false
context = 32
max_period = 10000
use_conv_block = false
use_conv_bias = true
gating = "silu"
norm = "RmsNorm"
positional_embedding = "None"
conv_layout = false
conv_kernel_size = 3
kv_repeat = 1
max_seq_len = 4096

[model.conditioners.description]
type = "Lut"
n_bins = 31
dim = 5
possible_values = ["very_bad", "bad", "neutral", "good", "very_good"]
"""
