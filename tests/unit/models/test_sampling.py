"""Tokens drawn from logits: the best, or by chance as moshi draws them."""

from typing import Any

import numpy as np
import pytest

from kyutai_onnx.models.lm.generation import likeliest, sample_token
from kyutai_onnx.runtime.errors import ModelError

Array = np.ndarray[Any, Any]


class Given:
    """Noise that is given instead of drawn; stands in for numpy's generator."""

    def __init__(self, values: Array) -> None:
        self._values = values

    def exponential(self, size: tuple[int, ...]) -> Array:
        assert self._values.shape == size
        return self._values


def logits(*shape: int, seed: int = 0) -> Array:
    return 3 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def draws(values: Array, temperature: float, top_k: int, count: int = 5000) -> Array:
    """How often each token comes up."""
    many = np.broadcast_to(values, (count, len(values)))
    tokens = sample_token(many, temperature, top_k, np.random.default_rng(3))
    return np.bincount(tokens, minlength=len(values)) / count


def probabilities(values: Array, temperature: float) -> Array:
    weights = np.exp(values / temperature - (values / temperature).max())
    chances: Array = weights / weights.sum()
    return chances


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_0_takes_the_best(temperature: float) -> None:
    values = logits(4, 7, 50)
    tokens = sample_token(values, temperature, 5, np.random.default_rng(0))
    assert tokens.shape == (4, 7)
    assert (tokens == values.argmax(axis=-1)).all()


@pytest.mark.parametrize("top_k", [0, 1, 5, 50, 51, 400])
@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.5])
def test_the_same_noise_draws_what_moshi_draws(
    temperature: float, top_k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    moshi = pytest.importorskip("moshi.utils.sampling")
    chance = np.random.default_rng(1)
    kept = min(top_k, 50) if top_k else 50
    for seed in range(20):
        values = logits(4, 7, 50, seed=seed)
        noise = chance.exponential(size=(4, 7, kept)).astype(np.float32)
        given = torch.from_numpy(noise.reshape(-1, kept))
        monkeypatch.setattr(
            torch.Tensor, "exponential_", lambda self, *_, given=given, **__: self.copy_(given)
        )
        theirs = moshi.sample_token(torch.from_numpy(values), True, temperature, top_k)
        ours = sample_token(values, temperature, top_k, Given(noise))  # type: ignore[arg-type]
        assert (ours == theirs.numpy()).all()


def test_tokens_come_up_by_their_probability() -> None:
    values = logits(8)
    for temperature in (0.7, 1.0, 2.0):
        wanted = probabilities(values, temperature)
        assert abs(draws(values, temperature, 0) - wanted).max() < 0.03
        assert abs(draws(values, temperature, 8) - wanted).max() < 0.03


def test_only_the_likeliest_are_drawn_from() -> None:
    values = logits(8)
    chances = probabilities(values, 1.5)
    best = np.argsort(-chances)[:3]
    wanted = np.zeros(8)
    wanted[best] = chances[best] / chances[best].sum()
    assert abs(draws(values, 1.5, 3) - wanted).max() < 0.03


@pytest.mark.parametrize("shape", [(4000,), (3, 50), (2, 4, 300)])
@pytest.mark.parametrize("count", [1, 7, 50])
def test_the_likeliest_are_those_of_a_whole_sort_also_where_many_are_equal(
    shape: tuple[int, ...], count: int
) -> None:
    chances = np.round(np.random.default_rng(1).random(shape), 1).astype(np.float32)
    sorted_whole = np.argsort(-chances, axis=-1, kind="stable")[..., :count]
    assert (likeliest(chances, count) == sorted_whole).all()


def test_one_candidate_is_the_best() -> None:
    values = logits(100, 30)
    tokens = sample_token(values, 1.0, 1, np.random.default_rng(0))
    assert (tokens == values.argmax(axis=-1)).all()


def test_what_is_ruled_out_is_never_drawn() -> None:
    values = np.full(6, -np.inf, np.float32)
    values[[1, 4]] = [0.0, 1.0]
    for top_k in (0, 2, 5, 9):
        frequencies = draws(values, 1.0, top_k)
        assert frequencies[[0, 2, 3, 5]].sum() == 0
        assert abs(frequencies - probabilities(values, 1.0)).max() < 0.03


def test_a_seed_repeats_its_draws_and_logits_stay_as_they_are() -> None:
    values = logits(500, 20)
    before = values.copy()
    one, two, other = (
        sample_token(values, 1.0, 10, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert (one == two).all()
    assert (one != other).any()
    assert (values == before).all()


def test_half_precision_logits_are_drawn_from_in_single() -> None:
    values = np.array([60000.0, 59968.0, -60000.0], np.float16)
    assert sample_token(values, 0.01, 0, np.random.default_rng(0)) == 0


TINY = (1e-30, 1e-40, 1e-44, 1e-46, 1e-300)
DENORMAL = 5e-324
"""0 in a thread whose processor flushes such numbers, as ONNX Runtime has it do."""


@pytest.mark.parametrize("top_k", [0, 1, 5])
@pytest.mark.parametrize("temperature", [*TINY, DENORMAL])
def test_a_tiny_temperature_takes_the_best(temperature: float, top_k: int) -> None:
    for scale in (1e-3, 1.0, 1e38):
        values = logits(4, 7, 50) / 9 * np.float32(scale)
        tokens = sample_token(values, temperature, top_k, np.random.default_rng(0))
        assert (tokens == values.argmax(axis=-1)).all()


@pytest.mark.parametrize("temperature", [*TINY, 0.5, 1e308])
def test_equal_scores_are_drawn_equally(temperature: float) -> None:
    ordinary = np.array([2.0, 2.0, -np.inf, -np.inf], np.float32)
    infinite = np.array([np.inf, np.inf, 3.0, -np.inf], np.float32)
    for values, count in ((ordinary, 2), (infinite, 2), (np.full(4, -np.inf, np.float32), 4)):
        for top_k in (0, 4):
            frequencies = draws(values, temperature, top_k)
            assert abs(frequencies[:count] - 1 / count).max() < 0.03


@pytest.mark.parametrize("temperature", [0.0, 0.8, 1e-40])
def test_no_token_is_drawn_from_what_is_no_number(temperature: float) -> None:
    values = logits(20)
    values[3] = np.nan
    with pytest.raises(ModelError, match="NaN"):
        sample_token(values, temperature, 5, np.random.default_rng(0))
