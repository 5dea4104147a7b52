"""kyutai-onnx on a bundle: `python -m benchmarks.engines.kyutai_onnx BUNDLE`."""

from pathlib import Path

from kyutai_onnx.models.frame_time import FrameLoop
from kyutai_onnx.runtime.bundle import Bundle

from .serving import Step, arguments, serve


def load() -> Step:
    asked = arguments("bundle", "provider")
    bundle = Bundle.open(Path(asked.bundle))
    loop = FrameLoop(
        bundle,
        provider=asked.provider,
        threads=asked.threads,
        batch=asked.batch,
        codebooks=asked.codebooks if bundle.manifest.lm is not None else None,
        guided=asked.guided,
    )
    return loop.timed_step


if __name__ == "__main__":
    serve(load)
