"""Write the trained models as a repository in Kyutai's layout.

Run: `python -m training.export --work DIR --output training/stt-demo-en`
"""

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training import tokenizer
from training.config import AUDIO_DELAY, LM, MIMI

MIMI_NAME = "mimi-demo.safetensors"
MIMI_CONFIG_NAME = "mimi_config.json"
LM_NAME = "model.safetensors"
PROJECTION = re.compile(r"self_attn\.(in|out)_projs\.\d+\.weight")
KYUTAI_NAMES = {"in": "self_attn.in_proj_weight", "out": "self_attn.out_proj.weight"}


def kyutai_name(name: str) -> str:
    """Kyutai stacks the projections of all the sets of weights, in their order."""
    return PROJECTION.sub(lambda found: KYUTAI_NAMES[found[1]], name)


def mimi_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """In 16 bits; codebooks as centroids used once each, since sums could overflow."""
    tensors = {}
    for name, tensor in state.items():
        if name.endswith("embedding_sum"):
            usage = state[name.replace("embedding_sum", "cluster_usage")]
            tensor = tensor / usage.clamp(min=1e-5)[:, None]
        elif name.endswith("cluster_usage"):
            tensor = torch.ones_like(tensor)
        tensors[kyutai_name(name)] = tensor.half().contiguous()
    return tensors


def lm_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    stacked: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        stacked.setdefault(kyutai_name(name), []).append(tensor.to(torch.bfloat16))
    return {name: torch.cat(tensors).contiguous() for name, tensors in stacked.items()}


def save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, path)
    path.chmod(0o644)


def part(trained: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of one module of a training save."""
    model = torch.load(trained, mmap=True)["model"]
    return {n.removeprefix(prefix): t for n, t in model.items() if n.startswith(prefix)}


def export_mimi(work: Path) -> None:
    """The trained encoder and quantiser, with the trained decoder if there is one."""
    output = work / "checkpoint"
    output.mkdir(exist_ok=True)
    state = part(work / "codec.pt", "mimi.")
    if (work / "decoder.pt").exists():
        state |= part(work / "decoder.pt", "mimi.")
    save(mimi_tensors(state), output / MIMI_NAME)
    write_json(output / MIMI_CONFIG_NAME, MIMI)


def export_lm(work: Path) -> None:
    output = work / "checkpoint"
    trained = work / "lm.pt"
    save(lm_tensors(part(trained, "lm.")), output / LM_NAME)
    shutil.copy(work / tokenizer.NAME, output)
    signature = hashlib.sha256((output / LM_NAME).read_bytes()).hexdigest()[:8]
    steps = torch.load(trained, mmap=True)["step"]
    write_json(output / "config.json", config(signature, steps))


def config(signature: str, steps: int) -> dict:
    return LM | {
        "model_type": "stt",
        "moshi_name": LM_NAME,
        "mimi_name": MIMI_NAME,
        "mimi_config_name": MIMI_CONFIG_NAME,
        "tokenizer_name": tokenizer.NAME,
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
        "stt_config": {"audio_delay_seconds": AUDIO_DELAY, "audio_silence_prefix_seconds": 0.0},
        "model_id": {"sig": signature, "epoch": steps // 1_000},
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    export_mimi(options.work)
    export_lm(options.work)
    shutil.copytree(options.work / "checkpoint", options.output, dirs_exist_ok=True)
