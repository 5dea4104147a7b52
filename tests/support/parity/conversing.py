"""Kyutai's own loop over a file for models that receive and speak, and what went through it."""

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.export.verification.reference import reference_lm, reference_mimi
from kyutai_onnx.runtime.tokenizer import open_tokenizer

Array = np.ndarray[Any, Any]


class EnoughError(Exception):
    """A model that does not end by itself was fed for long enough."""


@dataclass
class Conversation:
    """Codes `[K]` that were received and generated, text tokens, and sound, a list entry a frame;
    what was `printed`; `ended` if the model came to its end."""

    recognized: list[Array] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    made: list[Array] = field(default_factory=list)
    sound: list[Array] = field(default_factory=list)
    printed: io.StringIO = field(default_factory=io.StringIO)
    ended: bool = False

    @property
    def pcm(self) -> Array:
        return np.concatenate(self.sound)


@torch.no_grad()
def converse(
    checkpoint: Checkpoint, pcm: Array, frames: int, cfg_coef: float = 1.0, **sampling: Any
) -> Conversation:
    """Runs moshi run_inference.py `InferenceState` over samples `[n]`, for so many frames at most;
    `sampling` are the parameters of `LMGen`."""
    config = checkpoint.config
    assert config.lm is not None
    assert checkpoint.tokenizer is not None
    codebooks = max(config.lm.dep_q, config.lm.n_q - config.lm.dep_q)
    inference, client = modules()
    state = inference.InferenceState(
        SimpleNamespace(model_type=config.model_type, stt_config={}),
        reference_mimi(checkpoint, codebooks),
        open_tokenizer(checkpoint.tokenizer),
        reference_lm(checkpoint),
        1,
        cfg_coef,
        "cpu",
        **sampling,
    )
    torch.set_num_threads(1)
    conversation = Conversation()
    state.printer = client.RawPrinter(conversation.printed, io.StringIO())
    listen_in(state, conversation, frames)
    try:
        state.run(torch.from_numpy(pcm)[None, None])
        conversation.ended = True
    except EnoughError:
        pass
    return conversation


def modules() -> tuple[Any, Any]:
    """`moshi.run_inference`, without the reader of audio files that it imports, and its screen."""
    with pytest.MonkeyPatch.context() as patch:
        if "sphn" not in sys.modules:
            patch.setitem(sys.modules, "sphn", ModuleType("sphn"))
        names = ("run_inference", "client_utils")
        inference, client = (importlib.import_module(f"moshi.{name}") for name in names)
    return inference, client


def listen_in(state: Any, conversation: Conversation, frames: int) -> None:
    """Keeps what is stepped and decoded, less the first step, which is done twice."""
    step, decode, recognized = state.lm_gen.step, state.mimi.decode, state.lm_gen.lm_model.n_q
    recognized -= state.lm_gen.lm_model.dep_q
    steps = 0

    def kept_step(codes: torch.Tensor) -> torch.Tensor | None:
        nonlocal steps
        if steps > frames:
            raise EnoughError
        made: torch.Tensor | None = step(codes)
        steps += 1
        if steps > 1:
            conversation.recognized.append(codes[0, :recognized, 0].numpy())
            if made is not None:
                conversation.text.append(int(made[0, 0, 0]))
                conversation.made.append(made[0, 1:, 0].numpy())
        return made

    def kept_decode(codes: torch.Tensor) -> torch.Tensor:
        sound: torch.Tensor = decode(codes)
        conversation.sound.append(sound[0, 0].numpy())
        return sound

    state.lm_gen.step, state.mimi.decode = kept_step, kept_decode


@contextmanager
def noise_of(seed: int) -> Iterator[None]:
    """Exponential numbers of torch are drawn from numpy meanwhile, as ours are."""
    noise = np.random.default_rng(seed)

    def exponential(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return tensor.copy_(torch.from_numpy(noise.exponential(size=tuple(tensor.shape))))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "exponential_", exponential)
        yield
