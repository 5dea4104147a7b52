"""The reference's own loop over a file."""

from typing import Any

import numpy as np
import torch

from kyutai_onnx.conversion.checkpoint.config import SttConfig

RATE, SIZE = 24000, 1920


@torch.no_grad()
def run_inference(
    mimi: Any, lm: Any, stt: SttConfig, pcm: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Text tokens and codes by the rules of moshi run_inference.py, from its own parts."""
    from moshi.models import LMGen

    left = int(stt.audio_silence_prefix_seconds * RATE)
    right = int((stt.audio_delay_seconds + 1.0) * RATE)
    padded = torch.nn.functional.pad(torch.from_numpy(pcm)[None, None], (left, right))
    generator = LMGen(lm, temp=0.0, temp_text=0.0)
    tokens, recognized = [], []
    with mimi.streaming(1), generator.streaming(1):
        for chunk in padded.split(SIZE, dim=2):
            if chunk.shape[2] < SIZE:
                continue
            codes = mimi.encode(chunk)
            if not recognized:
                generator.step(codes)
            made = generator.step(codes)
            recognized.append(codes[0, :, 0].numpy())
            if made is not None:
                tokens.append(int(made[0, 0, 0]))
    return tokens, np.array(recognized).T
