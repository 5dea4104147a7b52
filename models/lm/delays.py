"""The delay cache: which token of each stream a model reads at a step, and which it has made.

The rules are those of moshi models/lm.py `LMGen._step`. At step `t` stream `k` reads what was
written for position `t`: its input of `delays[k]` steps before, or the token made one step before.
Up to `delays[k]` it reads its initial token. Rows are streams of their own and may be held.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.bundle.manifest import LanguageModel
from ...runtime.typing import Array
from ..stream_state import Integer, Record, Tensor


class DelayCache:
    """Tokens `[batch, 1 + n_q]` in a ring of positions; text is stream 0.

    `delays [1 + n_q]` are in steps, `offsets [batch]` count the steps of each row. A step may be
    of the first rows alone: as many as `active` has.
    """

    def __init__(self, model: LanguageModel, batch: int = 1) -> None:
        tokens = model.tokens
        self.delays = np.asarray(model.delays)
        self._made = 1 + model.dep_q
        self._ungenerated = tokens.ungenerated
        self._initial = np.full(1 + model.n_q, tokens.audio_initial)
        self._initial[0] = tokens.text_initial
        self._max_delay = int(self.delays.max())
        shape = (batch, 1 + model.n_q, self._max_delay + 2)
        self._cache = np.full(shape, self._ungenerated, np.int64)
        self.offsets = np.zeros(batch, np.int64)

    def read(self, codes: Array, active: Array) -> Array:
        """Take the codes `[batch, n_q - dep_q]` read at this step; returns the tokens that the
        model reads, `[batch, 1 + n_q]`. Held rows read their initial ones."""
        rows = np.flatnonzero(active)
        length = self._cache.shape[2]
        read_from = np.arange(self._made, self._cache.shape[1])
        positions = (self.offsets[rows, None] + self.delays[read_from]) % length
        self._cache[rows[:, None], read_from, positions] = codes[rows, : len(read_from)]
        count = len(active)
        now = self._cache[np.arange(count), :, self.offsets[:count] % length]
        read: Array = np.where(self.starting(active), self._initial, now)
        return read

    def starting(self, active: Array) -> Array:
        """Which streams `[batch, 1 + n_q]` read their initial token at this step."""
        starting: Array = self.offsets[: len(active), None] <= self.delays
        starting[~np.asarray(active, bool)] = True
        return starting

    def write(self, made: Array, active: Array) -> Array:
        """Take the tokens `[batch, 1 + dep_q]` made at this step; returns those of the frame that
        is complete by now, or `ungenerated` where none is yet and in held rows."""
        rows = np.flatnonzero(active)
        self.offsets[rows] += 1
        length, streams = self._cache.shape[2], np.arange(self._made)
        self._cache[rows[:, None], streams, self.offsets[rows, None] % length] = made[rows]
        count = len(active)
        offsets, made_by = self.offsets[:count], self._cache[:count, : self._made]
        positions = (offsets[:, None] - self._max_delay + self.delays[streams]) % length
        complete = np.take_along_axis(made_by, positions[..., None], axis=2)[..., 0]
        early = (offsets <= self._max_delay) | ~np.asarray(active, bool)
        complete[early] = self._ungenerated
        return complete

    def reset(self, rows: Sequence[int]) -> None:
        """Take rows back to the beginning of a stream."""
        self._cache[list(rows)] = self._ungenerated
        self.offsets[list(rows)] = 0

    def move(self, source: int, target: int) -> None:
        """Put the stream of one row in the place of another's."""
        self._cache[target] = self._cache[source]
        self.offsets[target] = self.offsets[source]

    @staticmethod
    def fields(model: LanguageModel) -> Record:
        """What is saved of a row: the ring of positions, and how many steps were made."""
        tokens, streams = model.tokens, 1 + model.n_q
        text = model.text_card + 1
        most = np.full((streams, 1), max(model.card, tokens.audio_initial))
        most[0] = text * text if model.second_text_stream else max(text, tokens.text_initial)
        least = min(tokens.zero, tokens.ungenerated)
        length = max(model.delays) + 2
        return Record(
            {
                "tokens": Tensor("int64", (streams, length), least, most),
                "step": Integer(),
            }
        )

    def save(self, row: int) -> dict[str, Any]:
        """The memory of one row, as `fields` says."""
        return {"tokens": self._cache[row].copy(), "step": int(self.offsets[row])}

    def load(self, row: int, saved: dict[str, Any]) -> None:
        """Continue what `save` returned."""
        self._cache[row] = saved["tokens"]
        self.offsets[row] = saved["step"]
