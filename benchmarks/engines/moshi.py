"""Kyutai's package: `python -m benchmarks.engines.moshi CHECKPOINT bf16|fp32|mimi`, on the CPU or
with `--device cuda`, where it compiles and captures as it does by itself.

Mimi in float32, the language model in the type that is said, as their programs do; `mimi` is the
codec alone, both ways.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "cuda" not in sys.argv:
    os.environ.setdefault("NO_TORCH_COMPILE", "1")

import numpy as np
import torch
from moshi.conditioners import ConditionAttributes, TensorCondition
from moshi.models import LMGen, loaders

from .serving import WHOLE, Step, Stopwatch, a_frame, arguments, serve, sound

LATE = 100_000
"""Steps that a stream counts as behind it."""
GUIDANCE = 3.0
VOICE_FRAMES = 625
TEXTS = {"description": "very_good", "cfg": "2.0", "control": "ok"}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load() -> Step:
    asked = arguments("checkpoint", "dtype")
    torch.set_num_threads(asked.threads)
    torch.set_grad_enabled(False)
    folder = Path(asked.checkpoint)
    if asked.dtype == "mimi":
        return codec(next(folder.glob("mimi-*.safetensors")), asked)
    return language_model(opened(folder), DTYPES[asked.dtype], asked)


def opened(folder: Path) -> Any:
    config = json.loads((folder / "config.json").read_text())
    return loaders.CheckpointInfo.from_hf_repo(
        str(folder),
        moshi_weights=folder / "model.safetensors",
        mimi_weights=folder / config["mimi_name"],
        tokenizer=folder / config["tokenizer_name"],
        config_path=folder / "config.json",
    )


def codec(weights: Path, asked: Any) -> Step:
    mimi = loaders.get_mimi(weights, device=asked.device, num_codebooks=asked.codebooks)
    if not asked.whole:
        mimi.streaming_forever(asked.batch)
        fill(mimi)
    noise = np.random.default_rng(0)

    def step() -> dict[str, float]:
        watch = Stopwatch(finish(asked.device))
        recognized = sound(asked.batch, noise, WHOLE if asked.whole else 1)
        pcm = torch.from_numpy(recognized).to(asked.device)
        codes = watch.run("mimi_encoder", lambda: mimi.encode(pcm))
        watch.run("mimi_decoder", lambda: mimi.decode(codes))
        return a_frame(watch.parts) if asked.whole else watch.parts

    return step


def language_model(info: Any, dtype: torch.dtype, asked: Any) -> Step:
    mimi, lm = info.get_mimi(asked.device), info.get_moshi(asked.device, dtype=dtype)
    if asked.codebooks is not None:
        lm.dep_q = asked.codebooks
    lm.eval()
    generator = LMGen(
        lm,
        use_sampling=False,
        cfg_coef=GUIDANCE if asked.guided else 1.0,
        condition_tensors=conditions(lm, asked.batch * (2 if asked.guided else 1)),
    )
    mimi.streaming_forever(asked.batch)
    generator.streaming_forever(asked.batch)
    fill(mimi)
    fill(lm)
    recognized, noise = lm.n_q - lm.dep_q, np.random.default_rng(0)
    listens = info.model_type != "tts"

    def step() -> dict[str, float]:
        watch = Stopwatch(finish(asked.device))
        codes = torch.zeros(asked.batch, recognized, 1, dtype=torch.long, device=asked.device)
        if listens:
            pcm = torch.from_numpy(sound(asked.batch, noise)).to(asked.device)
            codes = watch.run("mimi_encoder", lambda: mimi.encode(pcm))[:, :recognized]
        made = watch.run("language_model", lambda: generator.step(codes))
        if lm.dep_q and made is not None:
            spoken = made[:, 1:].clamp(0, mimi.cardinality - 1)
            watch.run("mimi_decoder", lambda: mimi.decode(spoken))
        return watch.parts

    return step


def finish(device: str) -> Callable[[], None]:
    """Waits for the work of the GPU, so that a part's time is its own."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def conditions(lm: Any, rows: int) -> Any:
    """Condition tensors, voices left out."""
    if lm.condition_provider is None:
        return {} if lm.fuser is None else None
    provider = lm.condition_provider
    texts = {name: TEXTS[name] for name in provider.text_conditions}
    tensors = {
        name: TensorCondition(
            torch.zeros(1, VOICE_FRAMES, provider.conditioners[name].dim),
            torch.zeros(1, VOICE_FRAMES).bool(),
        )
        for name in provider.tensor_conditions
    }
    return provider.prepare_and_provide([ConditionAttributes(text=texts, tensor=tensors)] * rows)


def fill(model: torch.nn.Module) -> None:
    """Fills every ring with noise and moves its position on; those that live within a frame are
    recomputed anyway."""
    for module in model.modules():
        state = getattr(module, "_streaming_state", None)
        if getattr(state, "kv_cache", None) is not None:
            state.kv_cache.cache.normal_(0, 0.1)
            state.kv_cache.end_offset.fill_(LATE)
            state.offset.fill_(LATE)


if __name__ == "__main__":
    serve(load)
