"""The portable flavour on WebGPU's own kernels, without a GPU: SwiftShader runs their shaders.

Debian's package chromium-common brings SwiftShader, `kyutai-onnx[webgpu]` the provider. Positions
are 64-bit integers, which it leaves to the CPU.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.parity.fixtures import Bundles
from support.voices import voices

from kyutai_onnx.models import Mimi, SpeechToText
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.runtime.bundle.bundle import Bundle

CHROMIUM = Path("/usr/lib/chromium")
DRIVER = CHROMIUM / "vk_swiftshader_icd.json"
HERE = """
import sys
import numpy as np
from kyutai_onnx.models import Mimi, SpeechToText
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.runtime.providers.provider import elsewhere
pcm, codes = np.load(sys.argv[2]), np.load(sys.argv[3])
heard = TokenTrace()
model = SpeechToText.load(sys.argv[1])
placed = model.language_model.temporal.placement
assert placed["WebGpuExecutionProvider"]["Softmax"] > 0
others = elsewhere(placed, "WebGpuExecutionProvider").get("CPUExecutionProvider", {})
assert set(others) <= {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Where"}, others
model.stream(trace=heard).feed(pcm)
decoded = Mimi.load(sys.argv[1]).decode(codes)
np.savez(sys.argv[4], codes=np.array(heard.codes).T, text=heard.text, decoded=decoded)
"""

pytestmark = [
    pytest.mark.skipif(not DRIVER.exists(), reason="no SwiftShader (apt: chromium-common)"),
    pytest.mark.skipif(find_spec("onnxruntime_ep_webgpu") is None, reason="no WebGPU provider"),
    pytest.mark.skipif(find_spec("moshi") is None, reason="no package of Kyutai's to compare with"),
]


def on_webgpu(
    made: Bundle, pcm: np.ndarray, codes: np.ndarray, folder: Path
) -> dict[str, np.ndarray]:
    """What a process of its own makes with a software adapter: codes and text of `pcm`, and the
    audio of `codes`."""
    np.save(folder / "pcm.npy", pcm)
    np.save(folder / "codes.npy", codes)
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(CHROMIUM),
        "VK_ICD_FILENAMES": str(DRIVER),
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
    }
    files = [str(folder / name) for name in ("pcm.npy", "codes.npy", "made.npz")]
    command = [sys.executable, "-c", HERE, str(made.path), *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "made.npz") as file:
        return dict(file)


def test_webgpu_makes_what_the_cpu_makes(bundle: Bundles, tmp_path: Path) -> None:
    pcm = voices(1, 30 * 1920, 24000, seed=2)[0]
    native, recognized = bundle("mimi", "stt"), TokenTrace()
    SpeechToText.load(native).stream(trace=recognized).feed(pcm)
    codes = np.array(recognized.codes).T
    decoded = Mimi.load(native).decode(codes)
    made = on_webgpu(bundle("mimi", "stt", target="webgpu"), pcm, codes, tmp_path)
    assert (made["codes"] == codes).mean() > 0.995
    assert (made["text"] == recognized.text).mean() > 0.95
    assert np.abs(made["decoded"] - decoded).max() < 1e-4 * np.abs(decoded).max()
