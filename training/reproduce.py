"""Make the whole demo from nothing: data, codec, language model, decoder, the model that speaks and
the one that translates, checkpoints, evaluation sets, samples and the bundles that ship.

Run: `python -m training.reproduce --work DIR`

What is done is not done again, and a training that was interrupted goes on from its last save.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from training import (
    codec,
    codes,
    corpus,
    decoder,
    export,
    french,
    hibiki,
    lm,
    loop,
    ranks,
    sets,
    speaker,
    speaking_checkpoints,
    takes,
    tokenizer,
    tts,
)

HERE = Path(__file__).parent
CHECKPOINT = HERE / "stt-demo-en"
TTS = HERE / "tts-demo-en"
HIBIKI = HERE / "hibiki-demo-fr-en"
SHIPPED = HERE.parent / "models" / "demo"


def teach(train: Callable[..., None], plan: loop.Plan, work: Path, *recipe: str) -> None:
    """Train to the end of the plan, in two processes."""
    if not loop.finished(plan, work):
        ranks.run(train, work, *recipe)


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
    make_speakers(work)
    ship()


def make_speakers(work: Path) -> None:
    """What speaks and what translates, each by the recipe that was best."""
    speaker.build(work)
    french.build(work)
    for recipe in tts.PATH:
        teach(tts.train, tts.plan(recipe), work, recipe)
    for recipe in hibiki.PATH:
        teach(hibiki.train, hibiki.plan(recipe), work, recipe)
    speaking_checkpoints.write_tts(work, tts.PATH[-1], TTS)
    speaking_checkpoints.write_hibiki(work, hibiki.PATH[-1], HIBIKI)


def ship() -> None:
    """Export the checkpoints as the bundles that are used when no model is given. The codec of the
    first is that of all, and ships once (`open_folder` in models/resolve.py)."""
    export_bundle(Request(str(CHECKPOINT), out=SHIPPED / "stt", decoder=True, force=True))
    export_bundle(Request(str(TTS), out=SHIPPED / "tts", force=True))
    export_bundle(Request(str(HIBIKI), out=SHIPPED / "hibiki", force=True))
    for folder in (SHIPPED / "tts", SHIPPED / "hibiki"):
        for file in folder.glob("mimi_*"):
            file.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    make(parser.parse_args().work)
