"""Write the trained text-to-speech model and the trained interpreter in Kyutai's layout. The codec
and the tokenizer are copies of the speech-to-text model's.

Run: `python -m training.speaking_checkpoints --work DIR --kind tts --recipe final --output FOLDER`
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import torch

from training import export, hibiki, tokenizer, tts
from training.config import FRAME_RATE
from training.loop import Plan

LISTENER = Path(__file__).parent / "stt-demo-en"
TTS_SAMPLING = {"temp": 0.3, "temp_text": 0.3, "top_k": 250, "top_k_text": 25}
HIBIKI_SAMPLING = {"temp": 0.4, "temp_text": 0.0, "top_k": 250, "top_k_text": 25}


def write_tts(work: Path, recipe: str, output: Path) -> None:
    layout = tts.RECIPES[recipe].layout
    fields = {
        "model_type": "tts",
        "lm_gen_config": TTS_SAMPLING,
        "tts_config": {
            "audio_delay": layout.delay / FRAME_RATE,
            "second_stream_ahead": layout.ahead,
            "multistream": False,
            "max_speakers": 1,
        },
    }
    write(work, tts.plan(recipe), "", tts.config(tts.RECIPES[recipe]) | fields, output)


def write_hibiki(work: Path, recipe: str, output: Path) -> None:
    fields = {"model_type": "hibiki", "lm_gen_config": HIBIKI_SAMPLING}
    write(work, hibiki.plan(recipe), "lm.", hibiki.config() | fields, output)


def write(work: Path, plan: Plan, prefix: str, config: dict, output: Path) -> None:
    """The weights under `prefix` of a training, the shared files, and a configuration."""
    output.mkdir(parents=True, exist_ok=True)
    trained = work / f"{plan.name}.pt"
    weights = output / export.LM_NAME
    export.save(export.lm_tensors(export.part(trained, prefix)), weights)
    steps = torch.load(trained, mmap=True)["step"]
    signature = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    files = {
        "moshi_name": export.LM_NAME,
        "mimi_name": shared(export.MIMI_NAME, output),
        "mimi_config_name": shared(export.MIMI_CONFIG_NAME, output),
        "tokenizer_name": shared(tokenizer.NAME, output),
        "model_id": {"sig": signature, "epoch": steps // 1_000},
    }
    export.write_json(output / "config.json", config | files)


def shared(name: str, folder: Path) -> str:
    """Copies a file of the speech-to-text checkpoint into a folder; returns its name."""
    shutil.copyfile(LISTENER / name, folder / name)
    return name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kind", choices=["tts", "hibiki"], required=True)
    parser.add_argument("--recipe", default="final")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    kinds = {"tts": write_tts, "hibiki": write_hibiki}
    kinds[options.kind](options.work, options.recipe, options.output)
