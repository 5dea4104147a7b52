"""`verify` says what to install if torch is missing; speech is transcribed without it."""

import subprocess
import sys
from pathlib import Path

from support.commands import Result

WITHOUT_TORCH = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "onnx", "onnxscript", "safetensors", "moshi"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from kyutai_onnx.cli.main import main
main()
"""


def run_without_torch(*arguments: object) -> Result:
    line = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def test_what_needs_torch_says_how_to_get_it() -> None:
    done = run_without_torch("verify", "nowhere", "--repo", "kyutai/stt-1b-en_fr")
    assert (done.code, done.out) == (2, "")
    assert any(f"({name} is missing)" in done.error for name in ("torch", "onnx", "safetensors"))
    assert 'pip install "kyutai-onnx[cpu,export]"' in done.error
    assert "moshi==0.2.13" in done.error


def test_speech_is_transcribed_without_torch(speech: Path) -> None:
    done = run_without_torch("transcribe", speech, "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out.strip()
