"""A run of a bundle by which its KV cache is calibrated."""

import numpy as np

from ..runtime.audio import audio_blocks
from ..runtime.bundle.bundle import Bundle
from ..runtime.graph.graph import GraphPipeline
from ..runtime.providers.provider import choose
from ..runtime.typing import Array
from .families import SAMPLES
from .lm.generation import Generator
from .lm.language_model import LanguageModel, SamplingParams
from .mimi.stream import EncoderStream

FRAMES = 150


def cache_entries(bundle: Bundle) -> dict[str, Array]:
    """Run the language model on the samples of the demo, or freely if it reads no audio.

    Returns the states of its temporal transformer by name, a ring as `[heads, n, head_dim]`.
    """
    manifest = bundle.manifest
    lm, sampling = manifest.lm, manifest.sampling
    assert lm is not None
    assert sampling is not None
    model = LanguageModel(bundle, allow_fallback=True)
    generator = Generator(model)
    params = SamplingParams(
        sampling.temp, sampling.temp_text, sampling.top_k, sampling.top_k_text, seed=0
    )
    generator.begin(0, params, conditions=model.condition())
    frames = min(FRAMES, lm.context - 1)
    for codes in _sample_codes(bundle, lm.n_q - lm.dep_q, frames):
        generator.step(codes[None])
    saved: dict[str, Array] = generator.save(0)["transformer"]
    return saved


def _sample_codes(bundle: Bundle, codebooks: int, frames: int) -> Array:
    """Codes int64 `[frames, codebooks]` of the samples, repeated."""
    if not codebooks:
        return np.zeros((frames, 0), np.int64)
    manifest = bundle.manifest
    provider = choose("auto", manifest.target, allow_fallback=True)
    encoder = GraphPipeline(bundle, manifest.codec.encoder, provider, None)
    files = sorted(file for file in SAMPLES.iterdir() if file.suffix in (".wav", ".flac"))
    codes: list[Array] = []
    for file in files:
        stream = EncoderStream(bundle, encoder, codebooks)
        codes += [stream.feed(pcm) for pcm in audio_blocks(file, manifest.audio.sample_rate)]
        codes.append(stream.flush())
    return np.resize(np.concatenate(codes, axis=1).T, (frames, codebooks))
