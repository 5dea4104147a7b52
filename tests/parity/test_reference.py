"""What our bundles are compared with is what Kyutai's own loader makes of the same files."""

import json
from pathlib import Path

import pytest
import torch
from support.parity.families import FAMILIES
from support.parity.fixtures import Checkpoints

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.export.verification.reference import reference_lm


def load_by_kyutai(folder: Path) -> torch.nn.Module:
    from moshi.models.loaders import CheckpointInfo

    config = json.loads((folder / "config.json").read_text())
    info = CheckpointInfo.from_hf_repo(
        "local",
        moshi_weights=folder / config["moshi_name"],
        mimi_weights=folder / config["mimi_name"],
        tokenizer=folder / config["tokenizer_name"],
        config_path=folder / "config.json",
        mimi_config_path=folder / config["mimi_config_name"],
    )
    model: torch.nn.Module = info.get_moshi(dtype=torch.float32)
    return model


@pytest.mark.parametrize("lm", FAMILIES)
def test_the_reference_is_what_kyutais_loader_loads(lm: str, checkpoint: Checkpoints) -> None:
    folder = checkpoint("light", lm)
    theirs = load_by_kyutai(folder)
    ours = reference_lm(open_checkpoint(str(folder)))
    weights = ours.state_dict()
    assert weights.keys() == theirs.state_dict().keys()
    different = [n for n, w in theirs.state_dict().items() if not torch.equal(w, weights[n])]
    assert different == []
    assert str(ours) == str(theirs)
