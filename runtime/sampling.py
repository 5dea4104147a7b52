"""Samples tokens from logits, as moshi utils/sampling.py does, by numpy's random numbers."""

import numpy as np

from .errors import ModelError
from .typing import Array


def sample_token(
    logits: Array, temperature: float, top_k: int, noise: np.random.Generator
) -> Array:
    """One token `[...]` from each of `logits [..., cardinality]`.

    A temperature of 0 takes the best. Otherwise one of the `top_k` likeliest (all if 0) is drawn by
    its probability: the greatest of `p / e` with `e` exponential is such a draw. One `e` is taken
    for each candidate, the likeliest first; without `top_k`, in the order of the tokens. A score of
    plus infinity rules out all others. Raises ModelError for scores that are NaN.
    """
    if np.isnan(logits).any():
        raise ModelError("the model's scores are NaN: reset the stream, or verify the bundle")
    if temperature <= 0:
        best: Array = np.argmax(logits, axis=-1)
        return best
    probabilities = _weights(logits.astype(np.float32), temperature)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if top_k <= 0:
        return _draw(probabilities, noise)
    candidates = _likeliest(probabilities, min(top_k, probabilities.shape[-1]))
    draw = _draw(np.take_along_axis(probabilities, candidates, axis=-1), noise)
    token: Array = np.take_along_axis(candidates, draw[..., None], axis=-1)[..., 0]
    return token


def _weights(logits: Array, temperature: float) -> Array:
    """`exp(logits / temperature)` over that of the best, for any temperature above 0."""
    with np.errstate(all="ignore"):
        scaled = logits / temperature
        best = scaled.max(axis=-1, keepdims=True)
        if not np.isfinite(best).all():
            wide = logits.astype(np.float64)
            best = wide.max(axis=-1, keepdims=True)
            below = np.exp((wide - best) / temperature)
            return np.where(wide == best, 1.0, below).astype(np.float32)
        weights: Array = np.exp(scaled - best)
    return weights


def _draw(chances: Array, noise: np.random.Generator) -> Array:
    index: Array = np.argmax(chances / noise.exponential(size=chances.shape), axis=-1)
    return index


def _likeliest(probabilities: Array, count: int) -> Array:
    """So many tokens, the likeliest first, of equal ones the first; without sorting all."""
    rows = probabilities.reshape(-1, probabilities.shape[-1])
    chosen = np.empty((len(rows), count), np.int64)
    for row, found in zip(rows, chosen, strict=True):
        least = np.partition(row, -count)[-count]
        above = np.flatnonzero(row > least)
        equal = np.flatnonzero(row == least)[: count - len(above)]
        among = np.sort(np.concatenate([above, equal]))
        found[:] = among[np.argsort(-row[among], kind="stable")]
    return chosen.reshape(*probabilities.shape[:-1], count)
