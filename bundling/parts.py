"""What both PyInstaller specs share: which data goes along, and what stays out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pygments.lexers
from PyInstaller.utils.hooks import collect_data_files, copy_metadata

ENTITLEMENTS = "microphone.entitlements"
MICROPHONE = "What you say is written down on this machine."
EXPORT = ("torch", "onnx", "onnxscript", "onnx_ir", "ml_dtypes", "moshi")
EVALUATION = ("datasets", "jiwer", "rapidfuzz", "regex", "whisper_normalizer")
UNUSED = (
    *("dbm", "_dbm", "_gdbm", "sqlite3", "_sqlite3", "readline", "pydoc_data", "yaml._yaml"),
    *("distutils", "setuptools", "numpy.distutils", "numpy.f2py", "numpy.testing"),
)
"""Python's database, its prompt, and tools for building; each has a part in C of a megabyte or
more, or many modules. YAML and the locks of the Hub work without theirs."""
LEXERS = tuple(
    f"pygments.lexers.{file.stem}"
    for file in Path(pygments.lexers.__file__).parent.glob("*.py")
    if file.stem not in ("__init__", "_mapping")
)
"""Languages that Rich could highlight; help has none."""
LEFT_OUT = (*EXPORT, *EVALUATION, *UNUSED, *LEXERS, "IPython", "PIL", "hf_xet")
"""Should they be installed where the folder is made; the hub works without hf_xet."""
COMMAND = ("pydantic", "pydantic_core", "pygments", "rich", "typer")
"""What only the command needs."""

SYSTEMS_OWN = ("libasound.so",)
"""Loads plug-ins of the system, so it has to be the system's."""


def data(demos: str, *packages: str) -> list[tuple[str, str]]:
    """Demos, by a pattern; the templates of bundles, the versions of the distributions, and the
    data of more packages."""
    found = collect_data_files("kyutai_onnx.models", includes=[demos])
    found += collect_data_files("kyutai_onnx", includes=["**/*.tar.xz"])
    for name in ("kyutai-onnx", "onnxruntime", "numpy", "soundfile", "soxr", "sounddevice"):
        found += copy_metadata(name)
    for package in packages:
        found += collect_data_files(package)
    return found


def libraries(binaries: list[Any], folder: str) -> list[Any]:
    """Leave out those that are to be taken from the machine on which the folder runs; on Linux,
    copy Python's own to a folder without their symbols for debuggers.

    Those of a Python that pyenv built are 25 MB. `strip=True` of PyInstaller is for all libraries,
    and breaks those of numpy.
    """
    kept = [entry for entry in binaries if not Path(entry[0]).name.startswith(SYSTEMS_OWN)]
    if sys.platform != "linux":
        return kept
    return [_stripped(*entry, folder=Path(folder)) for entry in kept]


def _stripped(name: str, source: str, kind: str, folder: Path) -> tuple[str, str, str]:
    if not name.startswith("libpython") and "lib-dynload" not in name:
        return name, source, kind
    made = folder / "stripped" / Path(name).name
    made.parent.mkdir(exist_ok=True)
    subprocess.run(["strip", "--strip-unneeded", "-o", made, source], check=True)  # noqa: S603, S607
    return name, str(made), kind
