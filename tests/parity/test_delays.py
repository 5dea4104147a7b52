"""The delay cache beside the bookkeeping of moshi's LMGen, over random tokens and delays."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kyutai_onnx.models.lm.delays import DelayCache
from kyutai_onnx.runtime.bundle.manifest import LanguageModel, Tokens

Array = np.ndarray[Any, Any]
TEXT, CARD = 50, 30

DELAYS = [
    (0, (0,)),
    (0, (0, 0, 0, 0)),
    (0, (0, 1, 2, 3)),
    (0, (6, 0, 0)),
    (3, (0, 0, 0, 0)),
    (3, (0, 0, 1, 1)),
    (2, (0, 0, 1, 0, 1)),
    (2, (0, 3, 1, 2, 5)),
    (2, (25, 0, 2, 0, 2)),
]


def language_model(dep_q: int, delays: tuple[int, ...]) -> LanguageModel:
    return LanguageModel(
        temporal="temporal",
        n_q=len(delays) - 1,
        dep_q=dep_q,
        card=CARD,
        text_card=TEXT,
        context=8,
        delays=delays,
        tokens=Tokens(TEXT, CARD, text_padding=3, text_end_of_padding=0),
    )


class Reference:
    """LMGen around a model that only notes what it reads and emits the tokens that it is given."""

    def __init__(self, model: LanguageModel, batch: int) -> None:
        torch = pytest.importorskip("torch")
        lm = pytest.importorskip("moshi.models.lm", reason="compares with Kyutai's package")
        self.torch, self.read = torch, np.empty(0)
        initial = torch.tensor([TEXT, *[CARD] * model.n_q])[None, :, None]
        stand_in = SimpleNamespace(
            training=False,
            set_streaming_detached=lambda _: None,
            streaming=lambda _: nullcontext(),
            reset_streaming=lambda _: None,
            set_exec_mask=lambda _: None,
            delays=list(model.delays),
            device=torch.device("cpu"),
            fuser=None,
            depformer=object() if model.dep_q else None,
            forward_text=self._forward,
            num_codebooks=1 + model.n_q,
            dep_q=model.dep_q,
            zero_token_id=-1,
            ungenerated_token_id=-2,
            _get_initial_token=lambda: initial,
        )
        self.generator = lm.LMGen(stand_in, use_sampling=False, support_out_of_sync=True)
        self.generator.streaming_forever(batch)

    def step(self, codes: Array, made: Array, active: Array) -> tuple[Array, Array]:
        """What the model read and which frame was complete after it."""
        self._text = made[:, 0]
        self.generator.set_exec_mask(self.torch.from_numpy(active))
        codes_read, said = (
            self.torch.from_numpy(tokens)[..., None] for tokens in (codes, made[:, 1:])
        )
        complete = self.generator.step(codes_read, said if made.shape[1] > 1 else None)
        return self.read, complete[..., 0].numpy()

    def reset(self, rows: list[int], batch: int) -> None:
        mask = self.torch.zeros(batch, dtype=self.torch.bool)
        mask[rows] = True
        self.generator.reset_streaming(mask)

    def _forward(self, tokens: Any, *_: object) -> tuple[Any, Any]:
        self.read = tokens[..., 0].numpy().copy()
        logits = self.torch.nn.functional.one_hot(self.torch.from_numpy(self._text), TEXT)
        return None, logits[:, None, None].float()


def random_step(
    noise: np.random.Generator, model: LanguageModel, batch: int
) -> tuple[Array, Array]:
    """Codes received and tokens made."""
    codes = noise.integers(0, CARD, (batch, model.n_q - model.dep_q))
    text = noise.integers(0, TEXT, (batch, 1))
    return codes, np.concatenate([text, noise.integers(0, CARD, (batch, model.dep_q))], axis=1)


@pytest.mark.parametrize(("dep_q", "delays"), DELAYS)
def test_tokens_are_those_of_the_reference(dep_q: int, delays: tuple[int, ...]) -> None:
    model, batch = language_model(dep_q, delays), 1
    reference, cache = Reference(model, batch), DelayCache(model, batch)
    noise, active = np.random.default_rng(dep_q), np.ones(batch, bool)
    for _ in range(80):
        codes, made = random_step(noise, model, batch)
        read, complete = reference.step(codes, made, active)
        np.testing.assert_array_equal(cache.read(codes, active), read)
        np.testing.assert_array_equal(cache.write(made, active), complete)


@pytest.mark.parametrize(("dep_q", "delays"), DELAYS)
def test_rows_that_are_held_and_reset_are_those_of_the_reference(
    dep_q: int, delays: tuple[int, ...]
) -> None:
    model, batch = language_model(dep_q, delays), 4
    reference, cache = Reference(model, batch), DelayCache(model, batch)
    noise = np.random.default_rng(dep_q + 10)
    for step in range(150):
        active = noise.random(batch) < 0.7
        if step % 17 == 16:
            rows = [int(row) for row in np.flatnonzero(noise.random(batch) < 0.4)]
            reference.reset(rows, batch)
            cache.reset(rows)
        codes, made = random_step(noise, model, batch)
        read, complete = reference.step(codes, made, active)
        np.testing.assert_array_equal(cache.read(codes, active), read)
        np.testing.assert_array_equal(cache.write(made, active), complete)


@pytest.mark.parametrize(("dep_q", "delays"), DELAYS)
def test_rows_do_not_see_each_other(dep_q: int, delays: tuple[int, ...]) -> None:
    model, batch = language_model(dep_q, delays), 3
    together, alone = DelayCache(model, batch), DelayCache(model)
    noise = np.random.default_rng(3)
    for _ in range(100):
        active = noise.random(batch) < 0.6
        codes, made = random_step(noise, model, batch)
        read = together.read(codes, active)[1]
        complete = together.write(made, active)[1]
        if active[1]:
            one = np.ones(1, bool)
            np.testing.assert_array_equal(alone.read(codes[1:2], one)[0], read)
            np.testing.assert_array_equal(alone.write(made[1:2], one)[0], complete)


def test_the_first_step_reads_initial_tokens_alone() -> None:
    cache = DelayCache(language_model(0, (0, 0, 0)))
    assert cache.read(np.array([[7, 8]]), np.ones(1, bool)).tolist() == [[TEXT, CARD, CARD]]
    cache.write(np.array([[5]]), np.ones(1, bool))
    assert cache.read(np.array([[7, 8]]), np.ones(1, bool)).tolist() == [[5, 7, 8]]


def test_a_frame_is_complete_once_the_longest_delay_has_passed() -> None:
    cache = DelayCache(language_model(2, (0, 0, 2)))
    made = np.array([[10, 20, 30]])
    active = np.ones(1, bool)
    found = []
    for step in range(5):
        cache.read(np.zeros((1, 0), np.int64), active)
        found.append(cache.write(made + step, active)[0].tolist())
    assert found == [[-2] * 3, [-2] * 3, [10, 20, 32], [11, 21, 33], [12, 22, 34]]


def test_held_rows_read_and_give_nothing() -> None:
    cache = DelayCache(language_model(0, (0, 0)), batch=2)
    active = np.array([True, False])
    for _ in range(5):
        assert cache.read(np.array([[1], [1]]), active)[1].tolist() == [TEXT, CARD]
        assert cache.write(np.array([[4], [4]]), active)[1].tolist() == [-2]


@pytest.mark.parametrize(("dep_q", "delays"), DELAYS)
def test_a_saved_row_goes_on_in_another(dep_q: int, delays: tuple[int, ...]) -> None:
    model, active = language_model(dep_q, delays), np.ones(1, bool)
    first, other, later = DelayCache(model), DelayCache(model, batch=2), np.array([False, True])
    noise = np.random.default_rng(4)
    for _ in range(40):
        codes, made = random_step(noise, model, 1)
        first.read(codes, active)
        first.write(made, active)
    saved = first.save(0)
    other.load(1, saved)
    for _ in range(40):
        codes, made = random_step(noise, model, 1)
        pairs = np.repeat(codes, 2, axis=0), np.repeat(made, 2, axis=0)
        expected = first.read(codes, active)[0], first.write(made, active)[0]
        np.testing.assert_array_equal(other.read(pairs[0], later)[1], expected[0])
        np.testing.assert_array_equal(other.write(pairs[1], later)[1], expected[1])
    assert saved["step"] == 40
