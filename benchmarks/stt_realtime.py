"""Speech to text, samples to tokens, beside Kyutai's package: time a frame in one run.

    python -m benchmarks.stt_realtime CHECKPOINT BUNDLE... [--threads 2] [--rounds 5] [--frames 20]

Every engine runs a few frames in turn, round after round, so that all meet the same machine. All
rings are full. A frame is 80 ms of speech: what takes less keeps up.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from kyutai_onnx.export.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.export.reference import reference_lm, reference_mimi

from .timing import Engine, fill, measure, ours, report


@torch.no_grad()
def reference(checkpoint: Checkpoint, dtype: torch.dtype) -> Engine:
    """Kyutai's package: Mimi in float32, the language model in `dtype`, as their programs do."""
    from moshi.models import LMGen

    lm_config = checkpoint.config.lm
    assert lm_config is not None
    mimi = reference_mimi(checkpoint, checkpoint.config.mimi_codebooks)
    generator = LMGen(reference_lm(checkpoint).to(dtype), temp=0.0, temp_text=0.0)
    mimi.streaming_forever(1)
    generator.streaming_forever(1)
    fill(mimi)
    fill(generator.lm_model)

    @torch.no_grad()
    def step(frame: np.ndarray) -> None:
        generator.step(mimi.encode(torch.from_numpy(frame)[None, None]))

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--fp32", action="store_true", help="the reference in float32 too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint = open_checkpoint(arguments.checkpoint)
    engines = {f"kyutai-onnx {b.name}": ours(b, arguments.threads) for b in arguments.bundles}
    engines["moshi bf16"] = reference(checkpoint, torch.bfloat16)
    if arguments.fp32:
        engines["moshi fp32"] = reference(checkpoint, torch.float32)
    times = measure(engines, arguments.rounds, arguments.frames)
    report(times)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
