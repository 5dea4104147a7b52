"""The depth transformer over rows: codes of a frame from its text and the temporal output."""

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.graph.buffers import Buffer
from ...runtime.typing import Array
from .language_model import Guidance, LanguageModel, SamplingParams

COLDEST = 1e-30
"""A temperature below it takes the best: scores over it could be infinite in the graph."""


class DepthTransformer:
    """The depth transformer over rows, and the inputs by which their codes are sampled."""

    def __init__(self, model: LanguageModel, rows: int) -> None:
        state = model.depth_state(rows)
        assert state is not None
        self._model, self._rows, self._streams = model, rows, state
        self.most = model.candidates
        ungenerated = model.spec.tokens.ungenerated
        shape = (rows, model.exported_codebooks)
        self._forced = np.full(shape, ungenerated, np.int64)
        self._noise = np.ones((*shape, self.most), np.float32)
        self._temperature = np.zeros(rows, np.float32)
        self._guidance = np.ones(rows, np.float32)
        self._conditioned = np.arange(rows)
        self._null = np.arange(rows)

    def use(self, rows: int) -> None:
        """Step the first `rows` rows alone from now on."""
        self._streams.use_rows(rows)

    def check(self, sampling: SamplingParams) -> None:
        """Raise UsageError for more candidates than the graph samples from."""
        everything = sampling.top_k == 0 and self.most < self._model.spec.card
        if sampling.temperature > 0 and (sampling.top_k > self.most or everything):
            raise UsageError(f"top_k {sampling.top_k}: this bundle samples from 1 to {self.most}")

    def begin(self) -> None:
        """Every row by itself, and greedy."""
        self._temperature[:] = 0
        self._guidance[:] = 1
        self._conditioned[:] = self._null[:] = np.arange(self._rows)

    def set(
        self,
        row: int,
        null: int,
        sampling: SamplingParams,
        guidance: Guidance | None,
        noise: np.random.Generator,
    ) -> None:
        """How the next codes of a row are sampled; its null row gets the same ones."""
        pair = [row, null]
        self._conditioned[pair], self._null[pair] = row, null
        self._guidance[pair] = 1.0 if guidance is None else guidance.coefficient
        self._temperature[pair] = sampling.temperature if sampling.temperature >= COLDEST else 0
        if sampling.temperature > 0:
            made = self._model.spec.dep_q
            candidates = sampling.top_k or self.most
            self._noise[pair] = np.inf
            self._noise[pair, :made, :candidates] = noise.exponential(size=(made, candidates))

    def step(self, hidden: Array | Buffer, text: Array, active: Array) -> Array:
        """Codes int64 `[rows, dep_q]` for the temporal transformer's output `[rows, dim]` and the
        text `[rows]`; those of rows that are not active are meaningless."""
        rows = len(text)
        start, _ = self._streams.active_range(active)
        inputs: dict[str, Array | Buffer] = {
            "hidden": hidden,
            "forced": self._forced[:rows],
            "temperature": self._temperature[:rows],
            "noise": self._noise[:rows],
            "conditioned": self._conditioned[:rows] - start,
            "null": self._null[:rows] - start,
            "guidance": self._guidance[:rows],
        }
        text_inputs = self._model.split_text(text[:, None])
        inputs["text"] = text_inputs.pop("tokens")[:, 0]
        outputs = self._streams.step(inputs | text_inputs, active)
        made = range(self._model.spec.dep_q)
        return np.stack([outputs[f"codes.{index}"] for index in made], axis=1)
