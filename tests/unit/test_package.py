"""What `import kyutai_onnx` gives, and what it costs."""

import subprocess
import sys
from importlib import metadata

import pytest
from support.paths import ROOT

import kyutai_onnx
from kyutai_onnx import models


def test_it_has_the_version_that_is_installed() -> None:
    assert kyutai_onnx.__version__ == metadata.version("kyutai-onnx")


@pytest.mark.parametrize("name", models.__all__)
def test_it_has_every_name_of_the_models(name: str) -> None:
    assert getattr(kyutai_onnx, name) is getattr(models, name)
    assert name in dir(kyutai_onnx)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Whisper'"):
        _ = kyutai_onnx.Whisper  # type: ignore[attr-defined]


def test_it_imports_nothing_until_a_name_is_used() -> None:
    program = (
        "import sys, kyutai_onnx; assert not {'numpy', 'onnxruntime'} & sys.modules.keys(); "
        "kyutai_onnx.SpeechToText; assert 'numpy' in sys.modules; "
        "assert not {'torch', 'aiohttp', 'typer'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
