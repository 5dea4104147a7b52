"""The reference over a schedule of rows: what it makes, and the scores that it chose by."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from support.parity.schedule import ROWS, schedule
from support.voices import voices

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.export.verification.agreement import Choices
from kyutai_onnx.export.verification.reference import reference_lm, reference_mimi

Array = np.ndarray[Any, Any]


@dataclass
class CodecRun:
    """`pcm [rows, frames, size]`, `codes [frames, rows, K]` and `decoded [frames, rows, size]`."""

    model: Any
    pcm: Array
    codes: list[Array] = field(default_factory=list)
    decoded: list[Array] = field(default_factory=list)
    latents: list[torch.Tensor] = field(default_factory=list)

    def compare(self, frame: int, row: int, ours: Array, choices: list[Choices]) -> None:
        """Counts a row's codes `[K]`; after a difference its chain goes on from elsewhere."""
        quantizer, reference = self.model.quantizer, self.codes[frame][row]
        split = quantizer.n_q_semantic
        chains = ((quantizer.rvq_first, 0, split), (quantizer.rvq_rest, split, len(reference)))
        for chain, start, end in chains:
            for index in range(start, end):
                best, chosen = int(reference[index]), int(ours[index])
                choices[index].distinct.add(best)
                if chosen == best:
                    choices[index].equal += 1
                    continue
                scores = self._scores(chain, frame, row, reference[start:index])
                choices[index].add(scores, chosen, best)
                break

    def _scores(self, chain: Any, frame: int, row: int, before: Array) -> Array:
        residual = chain.input_proj(self.latents[frame])[row, :, 0]
        for layer, code in zip(chain.vq.layers, before, strict=False):
            residual = residual - layer.embedding[int(code)]
        book = chain.vq.layers[len(before)].embedding
        scores: Array = (book @ residual - 0.5 * (book * book).sum(1)).numpy()
        return scores


@torch.no_grad()
def run_codec(checkpoint: Checkpoint) -> CodecRun:
    """Encodes and decodes, one frame a call, the rows as the schedule says."""
    config = checkpoint.mimi_config
    model = reference_mimi(checkpoint, config.quantizer.n_q)
    frames = list(schedule())
    pcm = voices(ROWS, len(frames) * config.frame_size, config.sample_rate, seed=9)
    run = CodecRun(model, pcm.reshape(ROWS, len(frames), config.frame_size))
    with model.streaming(ROWS):
        for index, frame in enumerate(frames):
            if frame.reset:
                model.reset_streaming(_mask(frame.reset))
            model.set_exec_mask(torch.from_numpy(frame.active))
            recognized = torch.from_numpy(run.pcm[:, index])[:, None]
            latent = model.encode_to_latent(recognized, quantize=False)
            codes = model.quantizer.encode(latent)
            run.latents.append(latent)
            run.codes.append(codes[..., 0].numpy())
            run.decoded.append(model.decode(codes)[:, 0].numpy())
    return run


@dataclass
class LmRun:
    """Codes `[frames, rows, n_q]` that are received, and per frame what came of them."""

    codes: Array
    tokens: list[Array] = field(default_factory=list)
    scores: list[Array] = field(default_factory=list)
    heads: list[Array] = field(default_factory=list)


@torch.no_grad()
def run_lm(checkpoint: Checkpoint) -> LmRun:
    """Kyutai's `LMGen`, greedy, over random codes."""
    from moshi.models import LMGen

    config = checkpoint.config.lm
    assert config is not None
    frames = list(schedule())
    noise = np.random.default_rng(3)
    run = LmRun(noise.integers(0, config.card, (len(frames), ROWS, config.n_q)))

    def keep_scores(logits: torch.Tensor) -> None:
        run.scores.append(logits[:, 0, 0].numpy().copy())

    generator = LMGen(
        reference_lm(checkpoint),
        temp=0.0,
        temp_text=0.0,
        support_out_of_sync=True,
        on_text_logits_hook=keep_scores,
    )
    with generator.streaming(ROWS):
        for index, frame in enumerate(frames):
            if frame.reset:
                generator.reset_streaming(_mask(frame.reset))
            generator.set_exec_mask(torch.from_numpy(frame.active))
            stepped = generator.step_with_extra_heads(torch.from_numpy(run.codes[index])[..., None])
            assert stepped is not None
            tokens, heads = stepped
            run.tokens.append(tokens[:, 0, 0].numpy())
            run.heads.append(
                np.stack([h[:, 0].numpy() for h in heads], 1) if heads else np.empty(0)
            )
    return run


def _mask(rows: list[int]) -> torch.Tensor:
    mask = torch.zeros(ROWS, dtype=torch.bool)
    mask[rows] = True
    return mask
