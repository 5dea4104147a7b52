"""kyutai-onnx on a bundle: `python -m benchmarks.engines.kyutai_onnx BUNDLE`."""

from pathlib import Path

from kyutai_onnx.models.frame_time import FrameLoop
from kyutai_onnx.runtime.bundle import Bundle

from .serving import Step, arguments, serve


def load() -> Step:
    asked = arguments("bundle", "provider")
    loop = FrameLoop(
        Bundle.open(Path(asked.bundle)),
        provider=asked.provider,
        threads=asked.threads,
        batch=asked.batch,
        codebooks=asked.codebooks,
        guided=asked.guided,
    )
    return loop.timed_step


if __name__ == "__main__":
    serve(load)
