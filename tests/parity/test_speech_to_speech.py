"""Hibiki and Moshi through the command line against Kyutai's own loop over a file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.npz import arrays
from support.parity.conversing import Conversation, converse, noise_of
from support.parity.fixtures import Bundles, Checkpoints
from support.voices import voices

from kyutai_onnx.cli.main import run
from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint

Array = np.ndarray[Any, Any]
RATE, SIZE = 24000, 1920
SECONDS = 14.3
TAIL = 4.0


@dataclass(frozen=True)
class Case:
    """A model, and how it is run by the command line and by Kyutai's loop."""

    lm: str
    cfg_coef: float = 1.0
    sampled: bool = False

    def __str__(self) -> str:
        return f"{self.lm}-by-{self.cfg_coef:g}-{'sampled' if self.sampled else 'greedy'}"

    @property
    def options(self) -> list[str]:
        chosen = ["--seed", "11"] if self.sampled else ["--temp", "0"]
        if self.lm == "moshi":
            return ["chat", *chosen]
        return ["translate", *chosen, "--max-tail", str(TAIL), "--cfg-coef", str(self.cfg_coef)]

    def reference(self, folder: Path, pcm: Array) -> Conversation:
        checkpoint = open_checkpoint(str(folder))
        frames = len(pcm) // SIZE + (0 if self.lm == "moshi" else 1 + int(TAIL * 12.5))
        if not self.sampled:
            return converse(checkpoint, pcm, frames, self.cfg_coef, temp=0.0, temp_text=0.0)
        with noise_of(11):
            sampling = {"temp": 0.8, "temp_text": 0.7, "top_k": 50, "top_k_text": 25}
            return converse(checkpoint, pcm, frames, self.cfg_coef, **sampling)


CASES = [
    Case("hibiki"),
    Case("hibiki", cfg_coef=3.0),
    Case("hibiki", cfg_coef=3.0, sampled=True),
    Case("hibiki-zero"),
    Case("moshi"),
    Case("moshi", sampled=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_command_says_what_kyutais_loop_says(
    case: Case,
    checkpoint: Checkpoints,
    bundle: Bundles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pcm = voices(1, int(SECONDS * RATE), RATE, seed=4)[0]
    soundfile.write(tmp_path / "in.wav", pcm, RATE, subtype="FLOAT")
    files = [str(tmp_path / name) for name in ("in.wav", "out.wav")]
    model = ["--model", str(bundle("wide", case.lm).path)]
    dump = ["--dump-tokens", str(tmp_path / "tokens.npz")]
    command, *options = case.options
    assert run([command, *files, *model, *dump, *options, "-q"]) == 0
    shown = capsys.readouterr().out
    expected = case.reference(checkpoint("wide", case.lm), pcm)
    dumped = arrays(tmp_path / "tokens.npz")
    assert dumped["codes"].T.tolist() == np.array(expected.recognized).tolist()
    assert dumped["text"].tolist() == expected.text
    assert dumped["audio"].T.tolist() == np.array(expected.made).tolist()
    assert shown.strip() == re.sub(r"</?s>", "", expected.printed.getvalue()).strip()
    made, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    sound = np.clip(expected.pcm, -1, 1)
    peak = np.abs(sound).max()
    error = np.abs(made - sound).max() / peak
    distinct = [len(np.unique(row)) for row in dumped["audio"]]
    print(f"{case}: {len(expected.text)} frames, {len(set(expected.text))} texts, {distinct} codes")
    print(f"peak {peak:.2f}, error {error:.1e}, ended: {expected.ended}")
    assert error < 1e-4
    assert peak > 0.1, "hollow: hardly a sound"
    assert len(set(expected.text)) >= 50, "hollow: too few tokens occur"
    assert min(distinct) >= 100, "hollow: too few codes occur"
