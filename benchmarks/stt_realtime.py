"""Speech to text, samples to tokens, beside Kyutai's package: time a frame in one run.

    python -m benchmarks.stt_realtime CHECKPOINT BUNDLE... [--threads 2] [--rounds 5] [--frames 20]

Every engine runs a few frames in turn, round after round, so that all meet the same machine. All
rings are full. A frame is 80 ms of speech: what takes less keeps up.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kyutai_onnx.export.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.export.reference import reference_lm, reference_mimi
from kyutai_onnx.export.verify import made_up_voice
from kyutai_onnx.models import SpeechToText

from .rings import LATE, full_stream

FRAME_MS = 80.0
Engine = Callable[[np.ndarray], None]


def ours(bundle: Path, threads: int) -> Engine:
    """A bundle, through the public stream."""
    model = SpeechToText.load(bundle, threads=threads)
    stream = full_stream(model)
    return lambda frame: stream.feed(frame) and None


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


def fill(model: torch.nn.Module) -> None:
    """Fills every ring with noise and moves its position on."""
    for module in model.modules():
        state = getattr(module, "_streaming_state", None)
        if getattr(state, "kv_cache", None) is not None:
            state.kv_cache.cache.normal_(0, 0.1)
            state.kv_cache.end_offset.fill_(LATE)
            state.offset.fill_(LATE)


def measure(engines: dict[str, Engine], rounds: int, frames: int) -> dict[str, list[float]]:
    """Milliseconds of each frame, by engine."""
    voice = made_up_voice(24000, 1920 * frames).reshape(frames, 1920)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            engine(voice[0])
            for frame in voice:
                started = time.perf_counter()
                engine(frame)
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


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
    base = float(np.median(times["moshi bf16"]))
    print("| engine | ms a frame (median) | p90 | of real time | against moshi bf16 |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        median, p90 = np.median(values), np.percentile(values, 90)
        print(
            f"| {name} | {median:.1f} | {p90:.1f} | {FRAME_MS / median:.2f} x | "
            f"{base / median:.2f} x |"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
