"""The manifest of a bundle, before its graphs are written."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the checkpoints are tensors of torch")

from support.checkpoints import MOSHI

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.checkpoint.repository import Folder, Repository
from kyutai_onnx.conversion.filling.manifest import make_manifest
from kyutai_onnx.conversion.filling.targets import Precisions
from kyutai_onnx.conversion.filling.template import Template


@pytest.mark.parametrize(("given", "kept"), [({}, 10), ({"top_k": 4}, 4), ({"top_k": 0}, 0)])
def test_top_k_is_at_most_the_number_of_codes(given: dict[str, object], kept: int) -> None:
    config = replace(RepositoryConfig.from_json(MOSHI), lm_gen=given)
    repository, none = Repository("none", Folder(Path())), InMemory({})
    checkpoint = Checkpoint(repository, config, MimiConfig.default(), none, none, None)
    template = Template("cpu", Precisions("int8"), 4, (), (), {})
    sampling = make_manifest(checkpoint, template, {}).sampling
    assert sampling is not None
    assert sampling.top_k == kept
