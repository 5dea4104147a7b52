"""Templates of the package against those traced now, and bundles that are filled from them.

    python -m benchmarks.filled --work FOLDER [--model mimi stt-1b-en_fr] [--target cpu]
                                [--precision int8 int4] [--once]

Each model is a checkpoint of the published size with random weights. The template of the package is
compared with the one traced now, byte for byte. The bundle is filled from both, and the hashes of
all its files are compared; `--once` fills only the package's, since equal templates leave nothing
that could differ but the run that calibrates a KV cache. The last column is a hash of the names and
hashes of the bundle's files. One bundle lies on the disk at a time, beside the checkpoint, which is
deleted after its last template.
"""

import argparse
import hashlib
import json
import shutil
import time
from pathlib import Path

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.filling.fill import fill_template
from kyutai_onnx.conversion.filling.shipped import shipped_template
from kyutai_onnx.conversion.filling.targets import TARGETS
from kyutai_onnx.conversion.filling.template import Design, Template, design_of
from kyutai_onnx.models.calibration_run import cache_entries
from tests.renew_templates import CONFIGS, Tracing, published_designs

from .published import write_published

COLUMNS = (
    "model",
    "target",
    "precision",
    "files",
    "bundle MB",
    "processor seconds to fill",
    "equal templates",
    "equal bundles",
    "SHA-256",
)
Files = dict[str, tuple[str, int]]
"""The hash and the bytes of each file of a bundle."""


def filled(template: Template, checkpoint: Checkpoint, folder: Path) -> Files:
    """Fill a template, and delete what was written."""
    folder.mkdir()
    try:
        fill_template(template, checkpoint, folder, cache_entries, lambda *_: None)
        return {file.name: (_sha256(file), file.stat().st_size) for file in folder.iterdir()}
    finally:
        shutil.rmtree(folder)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def compare(model: str, designs: list[Design], work: Path, tracing: Tracing, *, once: bool) -> bool:
    """Compare the templates of a model, and print a row for each; returns whether all are equal."""
    checkpoint = open_checkpoint(str(write_published(model, work / model)))
    equal = True
    for design in designs:
        shipped = shipped_template(design)
        found = design_of(checkpoint, TARGETS[design.target], design.precisions)
        if shipped is None or found.key != design.key:
            raise SystemExit(f"{model}: no template of {design.target} comes with the package")
        started = time.process_time()
        one = filled(shipped, checkpoint, work / "bundle")
        seconds = time.process_time() - started
        traced = tracing.template(design)
        same = [shipped == traced]
        if not once:
            same.append(one == filled(traced, checkpoint, work / "bundle"))
        equal &= all(same)
        size = sum(size for _, size in one.values()) / 1e6
        row = (model, design.target, design.precisions.model, len(one), f"{size:.0f}")
        answers = (*map(_yes, same), *["" for _ in range(2 - len(same))], digest_of_files(one))
        print("|", " | ".join(map(str, (*row, f"{seconds:.0f}", *answers))), "|", flush=True)
    shutil.rmtree(work / model)
    return equal


def _yes(answer: bool) -> str:
    return "yes" if answer else "NO"


def digest_of_files(files: Files) -> str:
    """The start of a hash of the names and hashes of files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16", "int8", "int4"])
    parser.add_argument("--once", action="store_true", help="fill only the package's template")
    arguments = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|\n" + "|---" * len(COLUMNS) + "|")
    tracing, results = Tracing({}), []
    for model in arguments.model:
        designs = [
            design
            for design in published_designs(model)
            if design.target in arguments.target and design.precisions.model in arguments.precision
        ]
        results.append(compare(model, designs, arguments.work, tracing, once=arguments.once))
    raise SystemExit(not all(results))


if __name__ == "__main__":
    main()
