"""Make the whole demo from nothing: data, codec, language model, decoder, checkpoint, evaluation
sets, samples and the bundle that ships.

Run: `python -m demo.reproduce --work DIR`

What is done is not done again, and a training that was interrupted goes on from its last save.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from demo import codec, codes, corpus, decoder, export, lm, ranks, sets, takes, tokenizer, training
from kyutai_onnx.export.bundle import Request, export_bundle

HERE = Path(__file__).parent
CHECKPOINT = HERE / "stt-demo-en"
SHIPPED = HERE.parent / "models" / "demo"


def teach(train: Callable[[Path], None], plan: training.Plan, work: Path) -> None:
    """Train to the end of the plan, in two processes."""
    if not training.finished(plan, work):
        ranks.run(train, work)


def make(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    corpus.build(work)
    tokenizer.train(work)
    teach(codec.train, codec.PLAN, work)
    export.export_mimi(work)
    codes.build(work)
    teach(lm.train, lm.PLAN, work)
    takes.build(work)
    teach(decoder.train, decoder.PLAN, work)
    export.export_mimi(work)
    export.export_lm(work)
    shutil.copytree(work / "checkpoint", CHECKPOINT, dirs_exist_ok=True)
    sets.write(HERE / "sets", SHIPPED / "samples")
    ship()


def ship() -> None:
    """Export the checkpoint as the bundle that is used when no model is given."""
    export_bundle(Request(str(CHECKPOINT), out=SHIPPED / "stt", decoder=True, force=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    make(parser.parse_args().work)
