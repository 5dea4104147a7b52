"""kyutai-onnx with threads that wait in another way for the next kernel:
`python -m benchmarks.engines.waiting BUNDLE '{"session.intra_op.spin_duration_us": "3"}'`."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

from kyutai_onnx.models.frame_benchmark import FrameBenchmark
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.providers import provider as providers
from kyutai_onnx.runtime.providers.provider import Provider

from .serving import Step, arguments, serve


def load() -> Step:
    asked = arguments("bundle", "entries")
    entries: dict[str, str] = json.loads(asked.entries)
    plain = providers.session_options

    def options(provider: Provider, threads: int | None) -> Any:
        made = plain(provider, threads)
        for name, value in entries.items():
            made.add_session_config_entry(name, value)
        return made

    with mock.patch.object(providers, "session_options", options):
        return FrameBenchmark(Bundle.open(Path(asked.bundle)), threads=asked.threads).timed_step


if __name__ == "__main__":
    serve(load)
