"""Sounds and spellings for tests that need no real speech."""

from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def voices(count: int, samples: int, sample_rate: int, seed: int = 0) -> Array:
    """Float32 `[count, samples]`: gliding harmonics under syllables, noise, and some silence."""
    noise = np.random.default_rng(seed)
    time = np.arange(samples) / sample_rate
    rows = []
    for row in range(count):
        pitch = (
            sample_rate / 220 * (1 + 0.3 * row) * 2 ** (0.5 * np.sin(2 * np.pi * 0.7 * time + row))
        )
        phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
        syllables = (0.5 + 0.5 * np.sin(2 * np.pi * 2.3 * time + row)) ** 2
        voice = sum(np.sin(k * phase + noise.uniform(0, 6)) / k for k in range(1, 12))
        hiss = noise.standard_normal(samples) * (0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * time)) ** 2
        rows.append(0.15 * (voice * syllables + 0.3 * hiss))
    pcm: Array = np.stack(rows).astype(np.float32)
    pcm[:, samples // 2 : samples // 2 + samples // 20] = 0
    return pcm


def spell_tokenizer(path: Path, size: int) -> None:
    """A SentencePiece model of `size` pieces over made-up words, with Kyutai's special ids."""
    import io

    import sentencepiece

    noise = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
    drawn = (noise.integers(26, size=noise.integers(1, 9)) for _ in range(20 * size))
    words = [letters[indices].tobytes().decode() for indices in drawn]
    lines = iter([" ".join(words[i : i + 10]) for i in range(0, len(words), 10)])
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        vocab_size=size,
        model_type="bpe",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
