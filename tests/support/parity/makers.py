"""Random checkpoints in Kyutai's file format, lively enough that a comparison says something.

Weights are scaled so that every layer passes on about as much as it gets, attention looks
somewhere, and codebooks are made of vectors that really occur: then codes, tokens and waveforms
vary, and an error anywhere in a state shows in them.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from support.checkpoints import Json, fused
from support.voices import spell_tokenizer, voices
from torch import Tensor, nn

PROJECTIONS = (".low_rank.weight", ".out1.weight", ".out2.weight", ".output_proj.weight")
"""What brings embeddings and conditions to the width that they are needed in."""

Hook = Callable[[nn.Module, Any, Tensor], Tensor]


def write_checkpoint(folder: Path, lm: Json | None, mimi: Json, seed: int = 0) -> Path:
    """A repository with a random model; without `lm` it holds the codec alone."""
    from moshi.models import loaders

    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    codec = loaders.get_mimi(None, mimi, num_codebooks=mimi["quantizer"]["n_q"])  # type: ignore[index, call-overload]
    enliven_mimi(codec, mimi)
    _save(codec.state_dict(), folder / "mimi.safetensors")
    (folder / "mimi_config.json").write_text(json.dumps(mimi))
    files = {"mimi_name": "mimi.safetensors", "mimi_config_name": "mimi_config.json"}
    if lm is not None:
        model = loaders.get_moshi_lm(None, arguments(lm), dtype=torch.float32)
        enliven_lm(model)
        _save(model.state_dict(), folder / "model.safetensors")
        spell_tokenizer(folder / "tokenizer.model", int(str(lm["text_card"])))
        files |= {"moshi_name": "model.safetensors", "tokenizer_name": "tokenizer.model"}
    (folder / "config.json").write_text(json.dumps((lm or {}) | files))
    return folder


def arguments(lm: Json) -> dict[str, Any]:
    """A configuration less the keys that are not the model's; the loader writes into it."""
    settings = ("model_type", "stt_config", "tts_config", "lm_gen_config", "model_id")
    return copy.deepcopy({name: value for name, value in lm.items() if name not in settings})


def _save(state: dict[str, Tensor], path: Path) -> None:
    flat = {name: t.flatten() if name.endswith(".alpha") else t for name, t in state.items()}
    save_file({name: t.contiguous().clone() for name, t in fused(flat).items()}, path)


@torch.no_grad()
def enliven_mimi(codec: Any, config: Json) -> None:
    """Scales the codec on made-up voices, layer by layer, and fills its codebooks from them."""
    size = codec.frame_size
    pcm = torch.from_numpy(voices(8, 60 * size, int(str(config["sample_rate"])), seed=5))[:, None]
    _enliven_transformers(codec)
    convolutions = [m for m in codec.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [conv.register_forward_hook(_to_unit_variance()) for conv in convolutions]
    latent = codec.encode_to_latent(pcm, quantize=False)
    for chain in (codec.quantizer.rvq_first, codec.quantizer.rvq_rest):
        fill_codebooks(chain, latent)
    codec.decode(codec.quantizer.encode(latent))
    for hook in hooks:
        hook.remove()
    last = [m for m in codec.decoder.modules() if isinstance(m, nn.Conv1d)][-1]
    last.weight.mul_(0.3)


def _to_unit_variance() -> Hook:
    """Scales a layer's weight at its first use, so that it passes on a spread of 0.7."""
    done = False

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        nonlocal done
        if done:
            return output
        done = True
        assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
        plain = output if layer.bias is None else output - layer.bias[:, None]
        gain = 0.7 / float(plain.std())
        layer.weight.mul_(gain)
        if layer.bias is None:
            return plain * gain
        layer.bias.normal_(0, 0.05)
        return plain * gain + layer.bias[:, None]

    return hook


def fill_codebooks(chain: Any, latent: Tensor) -> None:
    """Codebooks spread as the residuals are, so that nearly every code is nearest to something."""
    residual = chain.input_proj(latent).transpose(1, 2).reshape(-1, chain.dimension)
    for layer in chain.vq.layers:
        book = layer._codebook
        spread = 0.6 * residual.std(0) * torch.randn(book.codebook_size, chain.dimension)
        usage = torch.rand(book.codebook_size) * 50 + 0.5
        book.cluster_usage.copy_(usage)
        book.embedding_sum.copy_((residual.mean(0) + spread) * usage[:, None])
        book._initialized.fill_(1)
        book._embedding = None
        nearest = torch.cdist(residual[None], book.embedding[None])[0].argmin(-1)
        residual = residual - book.embedding[nearest]


@torch.no_grad()
def enliven_lm(model: Any) -> None:
    """Tokens that depend on all that was read: strong attention and spread-out embeddings."""
    _enliven_transformers(model)
    for name, weight in model.named_parameters():
        if name.endswith(PROJECTIONS) or name.startswith("depformer_in"):
            weight.normal_(0, weight.shape[-1] ** -0.5)
        elif name.startswith("linears"):
            weight.normal_()
            weight.div_(weight.norm(dim=-1, keepdim=True))
        elif "emb" in name and weight.ndim == 2:
            weight.normal_(0, 1 if name.startswith("depformer") else 0.5)
        if name.endswith(("linear_in.weight", "linear1.weight")):
            weight.mul_(1.5)
        if name.startswith(("text_linear", "extra_heads")):
            weight.normal_(0, weight.shape[-1] ** -0.5)


def _enliven_transformers(model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        if "layer_scale" in name:
            weight.normal_(0.4, 0.1)
        elif "norm" in name and name.endswith(("weight", "alpha")):
            weight.normal_(1, 0.1)
        elif "norm" in name:
            weight.normal_(0, 0.1)
        elif ".in_projs." in name:
            weight.normal_(0, weight.shape[1] ** -0.5)
            weight[: 2 * weight.shape[0] // 3].mul_(1.7)
        elif ".out_projs." in name:
            weight.normal_(0, weight.shape[1] ** -0.5)


def distinct(values: np.ndarray) -> int:
    return len(np.unique(values))
