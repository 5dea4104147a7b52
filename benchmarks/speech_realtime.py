"""Text to speech, translation and dialogue beside Kyutai's package: time a frame in one run.

    python -m benchmarks.speech_realtime CHECKPOINT BUNDLE... [--threads 2] [--rounds 5]

A frame is what one stream costs in 80 ms: Mimi's encoder where the model listens, the temporal and
the depth transformer, Mimi's decoder. Rings are full, engines
take turns, so that all meet the same machine. `--no-reference` leaves Kyutai's package out, where
its weights do not fit beside ours.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kyutai_onnx.export.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.export.reference import reference_lm, reference_mimi

from .timing import Engine, fill, measure, ours, report

TEXTS = {"description": "very_good", "cfg": "2.0", "control": "ok"}
"""What models are conditioned on, of those conditioners that they have."""


@torch.no_grad()
def reference(checkpoint: Checkpoint, dtype: torch.dtype) -> Engine:
    """Kyutai's package: Mimi in float32, the language model in `dtype`, as their programs do."""
    from moshi.models import LMGen

    mimi = reference_mimi(checkpoint, checkpoint.config.mimi_codebooks)
    lm = reference_lm(checkpoint)
    conditions = attributes(lm)
    lm.to(dtype)
    generator = LMGen(lm, use_sampling=False, condition_tensors=conditions)
    mimi.streaming_forever(1)
    generator.streaming_forever(1)
    fill(mimi)
    fill(lm)
    heard, cardinality = lm.n_q - lm.dep_q, mimi.cardinality

    @torch.no_grad()
    def step(frame: np.ndarray) -> None:
        codes = torch.zeros(1, 0, 1, dtype=torch.long)
        if heard:
            codes = mimi.encode(torch.from_numpy(frame)[None, None])
        made = generator.step(codes)
        if made is not None:
            mimi.decode(made[:, 1:].clamp(0, cardinality - 1))

    return step


def attributes(lm: Any) -> Any:
    """Condition tensors of one stream, voices left out."""
    if lm.condition_provider is None:
        return {} if lm.fuser is None else None
    from moshi.conditioners import ConditionAttributes, TensorCondition

    provider = lm.condition_provider
    texts = {name: TEXTS[name] for name in provider.text_conditions}
    tensors = {
        name: TensorCondition(
            torch.zeros(1, 625, provider.conditioners[name].dim), torch.zeros(1, 625).bool()
        )
        for name in provider.tensor_conditions
    }
    return provider.prepare_and_provide([ConditionAttributes(text=texts, tensor=tensors)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engines = {f"kyutai-onnx {b.name}": ours(b, arguments.threads) for b in arguments.bundles}
    if not arguments.no_reference:
        engines["moshi bf16"] = reference(open_checkpoint(arguments.checkpoint), torch.bfloat16)
    times = measure(engines, arguments.rounds, arguments.frames)
    report(times)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
