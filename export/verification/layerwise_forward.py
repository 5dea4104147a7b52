"""The temporal transformer in fp32 over whole sequences, with one layer in memory at a time.

So a model of any size can be asked, on a small machine, what it makes of tokens that are known.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ...conversion.checkpoint.config import LMConfig
from ...conversion.checkpoint.tensor_views import Tensors
from ...conversion.filling.formula import Evaluation, Formula
from ...runtime.typing import Array
from ..modules.attention import Frames
from ..modules.embedding import Embeddings
from ..modules.linear import Style
from ..modules.norm import make_norm
from ..modules.opset_dialect import Portable
from ..modules.step import Step, all_states, name_states, source_of
from ..modules.transformer import StreamingTransformer


class LayerwiseTransformer(nn.Module):
    """A model without conditions or a second text stream, for up to `most` frames."""

    def __init__(self, config: LMConfig, tensors: Tensors, most: int) -> None:
        super().__init__()
        style = Style(Portable())
        self._tensors = tensors
        with torch.device("meta"):
            self.embeddings = Embeddings(config, style)
            self.transformer = StreamingTransformer(config.transformer, Frames(most=most), style)
            self.out_norm = make_norm(config.transformer.norm, config.dim, style.dialect)
            self.text_linear = style.linear(
                config.dim, config.text_card_out, bias=config.bias_proj, sensitive=True
            )
        name_states(self)
        for layer in self.transformer.layers:
            layer.register_forward_pre_hook(lambda module, _: self._fill(module))
            layer.register_forward_hook(lambda module, *_: self._leave(module))
        self.progress: Callable[[int, int], None] = lambda *_: None
        """Called after each layer with how many are done, and of how many."""
        self._done = 0

    @torch.no_grad()
    def text_scores(self, tokens: Array) -> Array:
        """Scores float32 `[batch, frames, text_card_out]` after each of `tokens` int64
        `[batch, frames, 1 + n_q]`."""
        batch, frames, streams = tokens.shape
        self._done = 0
        with self._filled(self.embeddings):
            x = self.embeddings(torch.from_numpy(tokens.reshape(-1, streams)))
        states = {
            state.name: torch.full((batch, *state.shape), int(state.initial), dtype=state.dtype)
            for state in all_states(self)
        }
        step = Step(states, torch.ones(batch, dtype=torch.bool), Portable())
        for name, child in self.transformer.named_children():
            if name != "layers":
                self._fill(child)
        hidden = self.transformer(x.reshape(batch, frames, -1), step)
        with self._filled(self.out_norm), self._filled(self.text_linear):
            scores: Array = self.text_linear(self.out_norm(hidden)).numpy()
        return scores

    @contextmanager
    def _filled(self, module: nn.Module) -> Iterator[None]:
        self._fill(module)
        yield
        self._empty(module)

    def _fill(self, module: nn.Module) -> None:
        for owner, name, path in self._parameters_of(module):
            source = source_of(self, path)
            if isinstance(source, Formula):
                source = Evaluation(self._tensors).value(source)
            value: Tensor = torch.from_numpy(np.ascontiguousarray(source))
            setattr(owner, name, nn.Parameter(value, requires_grad=False))

    def _leave(self, layer: nn.Module) -> None:
        self._empty(layer)
        self._done += 1
        self.progress(self._done, len(self.transformer.layers))

    def _empty(self, module: nn.Module) -> None:
        module.to("meta")

    def _parameters_of(self, module: nn.Module) -> list[tuple[nn.Module, str, str]]:
        paths = {id(child): path for path, child in self.named_modules()}
        return [
            (child, name, f"{paths[id(child)]}.{name}")
            for child in module.modules()
            for name, _ in child.named_parameters(recurse=False)
        ]
