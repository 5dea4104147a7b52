"""Bundles filled from the templates of the package, against those of templates traced now.

    python -m benchmarks.filled --work FOLDER [--model mimi stt-1b-en_fr] [--target cpu]
                                [--precision int8 int4]

Each model is a checkpoint of the published size with random weights. For each template the bundle
is filled twice, and the hashes of all its files are compared. One bundle lies on the disk at a
time, beside the checkpoint, which is deleted after its last template.
"""

import argparse
import hashlib
import shutil
import time
from pathlib import Path

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.filling.fill import fill_template
from kyutai_onnx.conversion.filling.shipped import shipped_template
from kyutai_onnx.conversion.filling.targets import TARGETS
from kyutai_onnx.conversion.filling.template import Template, design_of
from kyutai_onnx.export.plan import make_template
from kyutai_onnx.models.calibration_run import cache_entries
from tests.renew_templates import CONFIGS, published_designs

from .published import write_published

COLUMNS = ("model", "target", "precision", "files", "bundle MB", "seconds to fill", "equal")


def filled(template: Template, checkpoint: Checkpoint, folder: Path) -> dict[str, tuple[str, int]]:
    """Fill a template, delete what was written, and return the hash and bytes of each file."""
    folder.mkdir()
    try:
        fill_template(template, checkpoint, folder, cache_entries, lambda *_: None)
        return {file.name: (_sha256(file), file.stat().st_size) for file in folder.iterdir()}
    finally:
        shutil.rmtree(folder)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def compare(model: str, work: Path, targets: list[str], precisions: list[str]) -> bool:
    """Compare the bundles of a model, and print a row for each; returns whether all are equal."""
    checkpoint = open_checkpoint(str(write_published(model, work / model)))
    equal = True
    for design in published_designs(model):
        if design.target not in targets or design.precisions.model not in precisions:
            continue
        shipped = shipped_template(design)
        found = design_of(checkpoint, TARGETS[design.target], design.precisions)
        if shipped is None or found.key != design.key:
            raise SystemExit(f"{model}: no template of {design.target} comes with the package")
        started = time.process_time()
        one = filled(shipped, checkpoint, work / "bundle")
        seconds = time.process_time() - started
        other = filled(make_template(design), checkpoint, work / "bundle")
        equal &= one == other
        size = sum(size for _, size in one.values()) / 1e6
        row = (model, design.target, design.precisions.model, len(one), f"{size:.0f}")
        print("|", " | ".join(map(str, (*row, f"{seconds:.0f}", one == other))), "|", flush=True)
    shutil.rmtree(work / model)
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16", "int8", "int4"])
    arguments = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|\n" + "|---" * len(COLUMNS) + "|")
    chosen = (arguments.work, arguments.target, arguments.precision)
    results = [compare(model, *chosen) for model in arguments.model]
    raise SystemExit(not all(results))


if __name__ == "__main__":
    main()
