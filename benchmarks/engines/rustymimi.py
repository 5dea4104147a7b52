"""Kyutai's Mimi in Rust: `python -m benchmarks.engines.rustymimi WEIGHTS`."""

import os
from typing import Any

from .serving import WHOLE, Step, Stopwatch, a_frame, arguments, serve, sound

FILL = 130
"""Frames after which its context of 250 steps is full."""


def load() -> Step:
    asked = arguments("weights")
    os.environ["RAYON_NUM_THREADS"] = str(asked.threads)
    import numpy as np
    import rustymimi

    assert asked.batch == 1, "rustymimi steps one stream"
    mimi: Any = rustymimi.Tokenizer(asked.weights, num_codebooks=asked.codebooks)
    noise = np.random.default_rng(0)

    def whole() -> dict[str, float]:
        mimi.reset()  # it counts on from recording to recording, up to 8192 steps
        watch, pcm = Stopwatch(), sound(1, noise, WHOLE)
        codes = watch.run("mimi_encoder", lambda: mimi.encode(pcm))
        watch.run("mimi_decoder", lambda: mimi.decode(codes))
        return a_frame(watch.parts)

    def step() -> dict[str, float]:
        watch, pcm = Stopwatch(), sound(1, noise)
        codes = watch.run("mimi_encoder", lambda: mimi.encode_step(pcm))
        watch.run("mimi_decoder", lambda: mimi.decode_step(codes))
        return watch.parts

    if asked.whole:
        return whole
    for _ in range(FILL):
        step()
    return step


if __name__ == "__main__":
    serve(load)
