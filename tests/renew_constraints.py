"""Writes the releases that this environment holds to tests/constraints.txt.

    sh tests/run.sh --newest

runs all tests with the newest releases and, if they pass, this script. It lists every package, with
the ones that others require, and none that this project is.
"""

from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

FILE = Path(__file__).with_name("constraints.txt")
HEAD = """\
# The releases with which all tests passed. `sh tests/run.sh` installs these.
# Written by `sh tests/run.sh --newest`, which runs the tests with the newest ones.
"""


def installed() -> dict[str, str]:
    """Every package of this environment but the project, with its version without a build."""
    found = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    found.pop("kyutai-onnx", None)
    return {name: Version(version).public for name, version in sorted(found.items())}


if __name__ == "__main__":
    pins = (f"{name}=={version}\n" for name, version in installed().items())
    FILE.write_text(HEAD + "".join(pins), encoding="utf-8")
