"""What was built, in moshi-server's words."""

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGE = "kyutai-onnx"
UNKNOWN = "unknown"


@functools.cache
def package_version() -> str:
    """That of the installed package."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return UNKNOWN


def build_info() -> dict[str, str]:
    """The strings of moshi-server's `/api/build_info`; a package in Python has few of them."""
    system = f"{platform.machine()}-{platform.system()}".lower()
    return {
        "build_timestamp": UNKNOWN,
        "build_date": UNKNOWN,
        "git_branch": UNKNOWN,
        "git_timestamp": UNKNOWN,
        "git_date": UNKNOWN,
        "git_hash": UNKNOWN,
        "git_describe": f"{PACKAGE} {package_version()}",
        "rustc_host_triple": system,
        "rustc_version": f"none; Python {platform.python_version()}",
        "cargo_target_triple": system,
    }
