"""What exporting a published size costs: time, peak memory, bytes of the bundle.

    python -m benchmarks.export_sizes --work FOLDER [--model stt-1b-en_fr] [--precision int8 int4]

Each export is a process of its own, so that its peak is its own. Processor seconds are those of all
its threads, which other programs on the machine hardly change.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from .configs import PUBLISHED
from .memory import peak_mb, resident_mb
from .published import write_published

COLUMNS = (
    ("seconds", "seconds"),
    ("processor seconds", "processor_seconds"),
    ("peak MB", "peak_mb"),
    ("with mapped files MB", "peak_with_mapped_files_mb"),
    ("bundle MB", "bundle_mb"),
)


def measure(checkpoint: Path, out: Path, precision: str) -> dict[str, float | str]:
    """Exports in a child; returns seconds, processor seconds, peak and bundle megabytes."""
    command = [sys.executable, "-m", "benchmarks.export_sizes", "--child"]
    started, computed = time.perf_counter(), processor_seconds()
    result = subprocess.run(
        [*command, str(checkpoint), str(out), precision], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in out.iterdir())
    peak = json.loads(result.stdout.splitlines()[-1])
    return {
        "precision": precision,
        "seconds": seconds,
        "processor_seconds": processor_seconds() - computed,
        "peak_mb": peak["anonymous_mb"],
        "peak_with_mapped_files_mb": peak["all_mb"],
        "bundle_mb": size / 1e6,
    }


def processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def child(checkpoint: Path, out: Path, precision: str) -> None:
    """One export, watched from within."""
    import threading

    from kyutai_onnx.conversion.convert import Request
    from kyutai_onnx.export.bundle import export_bundle

    anonymous = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            anonymous[0] = max(anonymous[0], resident_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    export_bundle(
        Request(str(checkpoint), out, precision=precision, force=True)  # type: ignore[arg-type]
    )
    done.set()
    thread.join()
    print(json.dumps({"anonymous_mb": anonymous[0], "all_mb": peak_mb()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=list(PUBLISHED), choices=PUBLISHED)
    parser.add_argument("--precision", nargs="+", default=["int8", "int4"])
    arguments = parser.parse_args()
    print("| model | precision | " + " | ".join(name for name, _ in COLUMNS) + " |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for model in arguments.model:
        checkpoint = write_published(model, arguments.work / model)
        for precision in arguments.precision:
            row = measure(checkpoint, arguments.work / f"{model}-{precision}", precision)
            figures = " | ".join(f"{row[key]:.0f}" for _, key in COLUMNS)
            print(f"| {model} | {precision} | {figures} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
