"""kyutai-onnx on a bundle: `python -m benchmarks.engines.kyutai_onnx BUNDLE`."""

from pathlib import Path

from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.runtime.bundle.bundle import Bundle

from .serving import Step, arguments, serve

MOST_FRAMES = 25
"""Frames a call of the codec, as it is given whole recordings."""


def load() -> Step:
    asked = arguments("bundle", "provider")
    bundle = Bundle.open(Path(asked.bundle))
    loop = FrameBenchmark(
        bundle,
        provider=asked.provider,
        threads=asked.threads,
        batch=asked.batch,
        codebooks=asked.codebooks if bundle.manifest.lm is not None else None,
        guided=asked.guided,
        frames=MOST_FRAMES if asked.whole else 1,
    )
    return loop.timed_step


if __name__ == "__main__":
    serve(load)
