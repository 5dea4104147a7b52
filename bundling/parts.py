"""What both PyInstaller specs share: which data goes along, and what stays out."""

from pathlib import Path
from typing import Any

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

ENTITLEMENTS = "microphone.entitlements"
MICROPHONE = "What you say is written down on this machine."
EXPORT = ("torch", "onnx", "onnxscript", "onnx_ir", "ml_dtypes", "moshi")
LEFT_OUT = (*EXPORT, "datasets", "IPython", "PIL", "hf_xet")
"""Should they be installed where the folder is made; the hub works without hf_xet."""

SYSTEMS_OWN = ("libasound.so",)
"""Loads plug-ins of the system, so it has to be the system's."""


def data(demos: str, *packages: str) -> list[tuple[str, str]]:
    """Demos, by a pattern; the versions of the distributions, and the data of more packages."""
    found = collect_data_files("kyutai_onnx.models", includes=[demos])
    for name in ("kyutai-onnx", "onnxruntime", "numpy", "soundfile", "soxr", "sounddevice"):
        found += copy_metadata(name)
    for package in packages:
        found += collect_data_files(package)
    return found


def without_the_systems(binaries: list[Any]) -> list[Any]:
    """Libraries that are to be taken from the machine on which the folder runs are left out."""
    return [entry for entry in binaries if not Path(entry[0]).name.startswith(SYSTEMS_OWN)]
