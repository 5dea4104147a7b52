"""transformers: `python -m benchmarks.engines.transformers CONFIG bf16|fp32|mimi`.

Random weights at the sizes of a `config.json` of Kyutai's; `mimi` is the codec alone, whose decoder
keeps no memory of its convolutions and so is stepped for its time only.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    DynamicCache,
    KyutaiSpeechToTextConfig,
    KyutaiSpeechToTextForConditionalGeneration,
    MimiConfig,
    MimiModel,
)

from .serving import Step, Stopwatch, arguments, serve, sound

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
CODES = 2049
FILL = 130
"""Frames after which Mimi's context of 250 steps is full."""


def load() -> Step:
    asked = arguments("config", "dtype")
    torch.set_num_threads(asked.threads)
    torch.set_grad_enabled(False)
    noise = np.random.default_rng(0)
    codec = Codec(asked.codebooks or 32)
    for _ in range(FILL):
        codec.encode(torch.from_numpy(sound(asked.batch, noise)))
    if asked.dtype == "mimi":
        return codec.loop(asked.batch, noise)
    config = json.loads((Path(asked.config) / "config.json").read_text())
    return language_model(codec, config, DTYPES[asked.dtype], asked.batch, noise)


class Codec:
    """Mimi with the memory that transformers keeps for it."""

    def __init__(self, codebooks: int) -> None:
        self._codebooks = codebooks
        config = MimiConfig(use_streaming=True, use_cache=True)
        self._model = MimiModel(config).eval()
        self._recognized: dict[str, Any] = {}
        self._spoken = DynamicCache(config=config)

    def encode(self, pcm: torch.Tensor) -> torch.Tensor:
        made = self._model.encode(
            pcm, num_quantizers=self._codebooks, use_streaming=True, **self._recognized
        )
        self._recognized = {
            "encoder_past_key_values": made.encoder_past_key_values,
            "padding_cache": made.padding_cache,
        }
        codes: torch.Tensor = made.audio_codes
        return codes

    def decode(self, codes: torch.Tensor) -> None:
        self._model.decode(codes, decoder_past_key_values=self._spoken)

    def loop(self, batch: int, noise: np.random.Generator) -> Step:
        def step() -> dict[str, float]:
            watch, pcm = Stopwatch(), torch.from_numpy(sound(batch, noise))
            codes = watch.run("mimi_encoder", lambda: self.encode(pcm))
            watch.run("mimi_decoder", lambda: self.decode(codes))
            return watch.parts

        for _ in range(FILL):
            step()
        return step


def language_model(
    codec: Codec, kyutai: dict[str, Any], dtype: torch.dtype, batch: int, noise: np.random.Generator
) -> Step:
    heads, text = kyutai["num_heads"], kyutai["text_card"] + 1
    config = KyutaiSpeechToTextConfig(
        hidden_size=kyutai["dim"],
        num_hidden_layers=kyutai["num_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=kyutai["dim"] // heads,
        ffn_dim=2 * (int(kyutai["dim"] * kyutai["hidden_scale"]) * 2 // 3),
        sliding_window=kyutai["context"],
        vocab_size=text,
        audio_pad_token_id=text + 32 * CODES,
    )
    torch.set_default_dtype(dtype)
    model = KyutaiSpeechToTextForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    cache = DynamicCache(config=config)
    full = torch.zeros(batch, kyutai["context"], 33, dtype=torch.long)
    model(input_ids=full, past_key_values=cache, use_cache=True, logits_to_keep=1)
    state = {"text": torch.zeros(batch, 1, 1, dtype=torch.long)}

    def predict(codes: torch.Tensor) -> torch.Tensor:
        ids = torch.cat([state["text"], codes.transpose(1, 2)], dim=2)
        logits = model(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits
        chosen: torch.Tensor = logits[:, -1:].argmax(-1)[:, :, None]
        return chosen

    def step() -> dict[str, float]:
        watch, pcm = Stopwatch(), torch.from_numpy(sound(batch, noise))
        codes = watch.run("mimi_encoder", lambda: codec.encode(pcm))
        state["text"] = watch.run("language_model", lambda: predict(codes))
        return watch.parts

    return step


if __name__ == "__main__":
    serve(load)
