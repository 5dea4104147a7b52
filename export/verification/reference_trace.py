"""A trace of Kyutai's `LMGen`: what it chose at each step, and by which scores."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...runtime.typing import Array

Hook = Callable[[Array], Array]
"""From the tokens that were sampled to those that are read next, `[batch]` or `[batch, dep_q]`."""


@dataclass(frozen=True)
class Conditioning:
    """What one row is conditioned on: texts by conditioner, and tensors float32 `[length, dim]`
    with a mask bool `[length]` of what counts."""

    texts: dict[str, str | None] = field(default_factory=dict)
    tensors: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def nothing(self) -> "Conditioning":
        """The same conditioners, given nothing (moshi conditioners/base.py
        dropout_all_conditions)."""
        pairs = self.tensors.items()
        return Conditioning(
            dict.fromkeys(self.texts),
            {
                name: (np.zeros_like(vectors), np.zeros_like(mask))
                for name, (vectors, mask) in pairs
            },
        )


def condition_tensors(model: Any, rows: Sequence[Conditioning]) -> Any:
    """What `LMGen` takes as conditions, or None for a model without."""
    if model.condition_provider is None or model.fuser is None:
        return None
    conditioners = importlib.import_module("moshi.conditioners")
    attributes = []
    for row in rows:
        tensors = {
            name: conditioners.TensorCondition(
                torch.from_numpy(vectors)[None], torch.from_numpy(mask)[None]
            )
            for name, (vectors, mask) in row.tensors.items()
        }
        attributes.append(conditioners.ConditionAttributes(row.texts, tensors))
    return model.condition_provider.prepare_and_provide(attributes)


@dataclass(frozen=True)
class ReferenceStep:
    """One step. Scores are guided, tokens as sampled, before the hooks.

    `hidden [batch, dim]`, `text_scores [batch, text_card_out]`, `text [batch]`,
    `next_text [batch]`, `code_scores [batch, dep_q, card]`, `codes` and `next_codes`
    `[batch, dep_q]`, `heads [batch, heads, classes]`, and `frame [batch, 1 + dep_q]`, complete.
    """

    hidden: Array
    text_scores: Array
    text: Array
    next_text: Array
    code_scores: Array
    codes: Array
    next_codes: Array
    heads: Array
    frame: Array


class ReferenceTrace:
    """`LMGen` over a batch of rows, greedy unless its `arguments` say otherwise.

    `generator` is Kyutai's own: it begins streaming, resets and holds rows.
    """

    def __init__(
        self,
        model: Any,
        *,
        conditions: Any = None,
        coefficient: float = 1.0,
        on_text: Hook = lambda tokens: tokens,
        on_audio: Hook = lambda codes: codes,
        **arguments: Any,
    ) -> None:
        self._model, self._coefficient = model, coefficient
        self._forward_text = type(model).forward_text
        self._forward_depformer = type(model).forward_depformer
        model.forward_text, model.forward_depformer = self._note_hidden, self._note_codes
        self._on_text, self._on_audio = on_text, on_audio
        self._noted: dict[str, Array] = {}
        self._code_scores: list[Array] = []
        self.generator = importlib.import_module("moshi.models").LMGen(
            model,
            **({"temp": 0.0, "temp_text": 0.0} | arguments),
            cfg_coef=coefficient,
            condition_tensors=conditions,
            support_out_of_sync=True,
            on_text_logits_hook=self._note_text_scores,
            on_text_hook=self._note_text,
            on_audio_hook=self._note_audio,
        )

    @torch.no_grad()
    def step(self, codes: Array) -> ReferenceStep:
        """Steps all rows on the codes int64 `[batch, n_q - dep_q]` that they read."""
        self._code_scores.clear()
        batch = len(codes)
        made = self.generator.step_with_extra_heads(torch.from_numpy(codes)[..., None])
        frame = made[0][..., 0].numpy().copy()
        heads = [head[:batch, 0].numpy() for head in made[1]]
        nothing = np.empty((batch, 0), np.int64)
        scores = self._code_scores
        self._noted.setdefault("codes", nothing)
        self._noted.setdefault("next_codes", nothing)
        return ReferenceStep(
            **self._noted,
            code_scores=np.stack(scores, 1) if scores else nothing[..., None],
            heads=np.stack(heads, 1) if heads else nothing[..., None],
            frame=frame,
        )

    def _note_hidden(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        hidden, logits = self._forward_text(self._model, *inputs)
        self._noted["hidden"] = hidden[:, 0].numpy().copy()
        return hidden, logits

    def _note_text_scores(self, logits: Tensor) -> None:
        self._noted["text_scores"] = logits[:, 0, 0].numpy().copy()

    def _note_text(self, text: Tensor) -> None:
        self._noted["text"] = text.numpy().copy()
        self._noted["next_text"] = self._on_text(self._noted["text"].copy())
        text[:] = torch.from_numpy(self._noted["next_text"])

    def _note_codes(self, index: int, *inputs: Any) -> Tensor:
        logits: Tensor = self._forward_depformer(self._model, index, *inputs)
        scores = logits[:, 0, 0].numpy().copy()
        if self._coefficient != 1:
            scores, null = np.split(scores, 2)
            scores = null + (scores - null) * np.float32(self._coefficient)
        self._code_scores.append(scores)
        return logits

    def _note_audio(self, codes: Tensor) -> None:
        self._noted["codes"] = codes.numpy().copy()
        self._noted["next_codes"] = self._on_audio(self._noted["codes"].copy())
        codes[:] = torch.from_numpy(self._noted["next_codes"])
