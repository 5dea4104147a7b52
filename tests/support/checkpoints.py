"""Tiny random checkpoints in every layout, each written by the rules of its own converter."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import torch
from safetensors.torch import save_file
from torch import Tensor

from kyutai_onnx.conversion.checkpoint.config import LMConfig, MimiConfig
from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes, mimi_shapes
from kyutai_onnx.models.resolve import DEMO

Json = dict[str, object]
TOKENIZER = DEMO / "stt" / "tokenizer.model"
State = dict[str, Tensor]

TEXT_ONLY: Json = {
    "model_type": "stt",
    "card": 10,
    "n_q": 3,
    "dep_q": 0,
    "delays": [0, 0, 0, 0],
    "dim": 32,
    "text_card": 20,
    "num_heads": 4,
    "num_layers": 2,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 8,
    "max_period": 100000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 32,
    "depformer_num_heads": 4,
    "depformer_num_layers": 0,
    "depformer_pos_emb": "none",
    "depformer_multi_linear": True,
    "conditioners": {},
    "fuser": None,
    "mimi_name": "mimi.safetensors",
    "mimi_config_name": "mimi_config.json",
    "tokenizer_name": "tokenizer.model",
    "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 1.0},
}

DEPTH: Json = {
    "dep_q": 4,
    "n_q": 6,
    "delays": [0, 0, 1, 1, 1, 0, 1],
    "depformer_dim": 16,
    "depformer_num_heads": 2,
    "depformer_num_layers": 2,
    "depformer_weights_per_step": True,
    "depformer_dim_feedforward": 48,
}

MOSHI: Json = TEXT_ONLY | DEPTH | {"model_type": "moshi"}

SPEAKING: Json = MOSHI | {
    "model_type": "tts",
    "depformer_weights_per_step_schedule": [0, 1, 2, 2],
    "depformer_low_rank_embeddings": 8,
    "demux_second_stream": True,
    "cross_attention": True,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": 6}},
        "cfg": {
            "type": "lut",
            "lut": {
                "n_bins": 7,
                "dim": 5,
                "tokenizer": "noop",
                "possible_values": ["1.0", "1.5", "2.0"],
            },
        },
    },
    "fuser": {
        "sum": ["cfg"],
        "cross": ["speaker_wavs"],
        "prepend": [],
        "cross_attention_pos_emb": True,
        "cross_attention_pos_emb_scale": 1,
    },
    "tts_config": {"audio_delay": 1.28, "second_stream_ahead": 2},
}

MIMI: Json = {
    "sample_rate": 800,
    "channels": 1,
    "frame_rate": 50,
    "seanet": {
        "channels": 1,
        "dimension": 16,
        "causal": True,
        "n_filters": 4,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [4, 2],
        "true_skip": True,
    },
    "quantizer": {
        "dimension": 6,
        "n_q": 6,
        "bins": 10,
        "input_dimension": 16,
        "output_dimension": 16,
    },
    "transformer": {
        "d_model": 16,
        "num_heads": 2,
        "num_layers": 2,
        "causal": True,
        "layer_scale": 0.01,
        "context": 6,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 32,
        "input_dimension": 16,
        "output_dimensions": [16],
    },
}

TRANSFORMERS_MIMI: Json = {
    "model_type": "mimi",
    "architectures": ["MimiModel"],
    "sampling_rate": 800,
    "audio_channels": 1,
    "frame_rate": 50,
    "hidden_size": 16,
    "num_filters": 4,
    "upsampling_ratios": [4, 2],
    "codebook_size": 10,
    "codebook_dim": 6,
    "vector_quantization_hidden_dimension": 6,
    "num_quantizers": 6,
    "upsample_groups": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 32,
    "sliding_window": 6,
    "rope_theta": 10000.0,
}

TRANSFORMERS_STT: Json = {
    "model_type": "kyutai_speech_to_text",
    "architectures": ["KyutaiSpeechToTextForConditionalGeneration"],
    "codebook_vocab_size": 11,
    "vocab_size": 21,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "sliding_window": 8,
    "ffn_dim": 176,
    "rms_norm_eps": 1e-08,
    "rope_theta": 100000.0,
    "num_codebooks": 3,
    "codec_config": TRANSFORMERS_MIMI,
}


def lm_config(values: Json) -> LMConfig:
    return LMConfig.from_json(values)


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> State:
    """Normal numbers that bfloat16 holds exactly, so that any way of storing them keeps them."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=random).bfloat16().float()
        for name, shape in shapes.items()
    }


def random_lm(values: Json, seed: int = 0) -> State:
    return random_state(lm_shapes(lm_config(values)), seed)


def random_mimi(values: Json = MIMI, seed: int = 1) -> State:
    return random_state(mimi_shapes(MimiConfig.from_json(values)), seed)


def fused(state: State) -> State:
    """Kyutai's published form: sets stacked by rows, alphas `[1, 1, d]`."""
    stacks: dict[str, list[Tensor]] = {}
    written: State = {}
    for name, tensor in state.items():
        for split, whole in (("in_projs", "in_proj_weight"), ("out_projs", "out_proj.weight")):
            if f".{split}." in name:
                stacks.setdefault(name.partition(f".{split}.")[0] + f".{whole}", []).append(tensor)
                break
        else:
            written[name] = tensor[None, None] if name.endswith(".alpha") else tensor
    return written | {name: torch.cat(parts) for name, parts in stacks.items()}


def candle(state: State, values: Json) -> State:
    """scripts/import_rust.py: the depth transformer once for every codebook."""
    config = lm_config(values)
    depth = config.depformer
    assert depth is not None
    own = ("depformer", "linears.")
    written = {name: t for name, t in fused(state).items() if not name.startswith(own)}
    for codebook in range(depth.codebooks):
        base, index = f"depformer.{codebook}.", depth.weight_set(codebook)
        emb = f"depformer_emb.{codebook - 1}." if codebook else "depformer_text_emb."
        moved = {emb: "emb.", f"depformer_in.{index}.": "linear_in."}
        moved[f"linears.{codebook}."] = "linear_out."
        for layer in range(depth.transformer.num_layers):
            old, new = f"depformer.layers.{layer}.", f"transformer.layers.{layer}."
            moved |= {f"{old}norm{n}.": f"{new}norm{n}." for n in (1, 2)}
            moved[f"{old}gating.{index}."] = f"{new}gating."
            moved[f"{old}self_attn.in_projs.{index}.weight"] = f"{new}self_attn.in_proj_weight"
            moved[f"{old}self_attn.out_projs.{index}."] = f"{new}self_attn.out_proj."
        for name, tensor in state.items():
            for old, new in moved.items():
                if name.startswith(old):
                    value = tensor[None, None] if name.endswith(".alpha") else tensor
                    written[base + name.replace(old, new)] = value.clone()
    return written


def mlx(state: State, values: Json) -> State:
    """scripts/import_mlx.py."""
    written: State = {}
    for name, tensor in candle(state, values).items():
        name = re.sub(r"^emb\.", "audio_embs.", name)
        name = re.sub(r"^depformer\.", "depformer.slices.", name)
        name = name.replace(".in_proj_weight", ".in_proj.weight")
        alpha = name.endswith(".alpha")
        written[name.replace(".alpha", ".weight")] = tensor[0, 0] if alpha else tensor
    return written


def permuted(weight: Tensor, heads: int) -> Tensor:
    """Queries or keys as transformers' converters reorder them for their rope."""
    rows, columns = weight.shape
    pairs = weight.view(heads, rows // heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def transformers_attention(name: str, weight: Tensor, heads: int, projection: str) -> State:
    q, k, v = weight.chunk(3)
    parts = {"q": permuted(q, heads), "k": permuted(k, heads), "v": v.clone()}
    return {name.replace("in_proj_weight", projection.format(p)): t for p, t in parts.items()}


def transformers_mimi(state: State, heads: int) -> State:
    """transformers' convert_mimi_checkpoint_to_pytorch.py, from Kyutai's published form."""
    rules = {
        "conv.conv.conv": "conv",
        "convtr.convtr.convtr": "conv",
        "conv.conv": "conv",
        "convtr.convtr": "conv",
        "rvq_first.vq": "semantic_residual_vector_quantizer",
        "rvq_first": "semantic_residual_vector_quantizer",
        "rvq_rest.vq": "acoustic_residual_vector_quantizer",
        "rvq_rest": "acoustic_residual_vector_quantizer",
        "_codebook": "codebook",
        "_initialized": "initialized",
        "embedding_sum": "embed_sum",
        "coder.model": "coder.layers",
        "transformer.transformer": "transformer",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "out_proj": "o_proj",
        "norm1": "input_layernorm",
        "norm2": "post_attention_layernorm",
        "layer_scale_1": "self_attn_layer_scale",
        "layer_scale_2": "mlp_layer_scale",
    }
    written: State = {}
    for name, tensor in fused(state).items():
        for old, new in rules.items():
            name = name.replace(old, new)
        if "in_proj_weight" in name:
            written |= transformers_attention(name, tensor, heads, "{}_proj.weight")
        else:
            written[name] = tensor
    return written


def transformers_stt(lm: State, mimi: State, heads: int, mimi_heads: int, n_q: int) -> State:
    """transformers' convert_kyutai_speech_to_text_to_hf.py, from Kyutai's published form."""
    source = fused(lm)
    zero = torch.zeros(1, source["text_emb.weight"].shape[1])
    audio = [source.pop(f"emb.{index}.weight") for index in range(n_q)]
    table = torch.cat([source.pop("text_emb.weight"), *audio, zero])
    written = {
        "model.embed_tokens.embed_tokens.weight": table,
        "lm_head.weight": torch.cat([source.pop("text_linear.weight"), zero]),
    }
    for name, tensor in source.items():
        name = name.removeprefix("transformer.").replace("out_norm", "norm")
        name = name.replace("gating.linear_in", "mlp.fc1").replace("gating.linear_out", "mlp.fc2")
        name = name.replace("self_attn.out_proj", "self_attn.o_proj.linear")
        name = name.replace("norm1", "input_layernorm").replace("norm2", "post_attention_layernorm")
        if "in_proj_weight" in name:
            parts = transformers_attention(name, tensor, heads, "{}_proj.linear.weight")
        elif "alpha" in name:
            parts = {name.replace("alpha", "weight"): tensor.squeeze()}
        else:
            parts = {name: tensor}
        written |= {f"model.{part}": value for part, value in parts.items()}
    codec = transformers_mimi(mimi, mimi_heads)
    return written | {f"codec_model.{name}": tensor for name, tensor in codec.items()}


def stored(state: State, dtype: torch.dtype = torch.float32) -> State:
    return {name: tensor.to(dtype).contiguous().clone() for name, tensor in state.items()}


def write_folder(
    folder: Path,
    values: Json,
    lm: State | None = None,
    mimi: State | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """A repository in Kyutai's layout: random weights unless given, and the demo's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "mimi_config.json").write_text(json.dumps(MIMI))
    shutil.copyfile(TOKENIZER, folder / "tokenizer.model")
    state = fused(random_lm(values)) if lm is None else lm
    save_file(stored(state, dtype), folder / "model.safetensors")
    codec = fused(random_mimi()) if mimi is None else mimi
    save_file(stored(codec), folder / "mimi.safetensors")
    return folder
