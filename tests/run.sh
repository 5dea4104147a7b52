#!/bin/sh
# Installs the package, what its tests compare it with, and runs everything: lint, types, tests.
# Uses a virtual environment of its own, .venv-tests (or $VENV).
set -eu
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-tests}"

if ! command -v espeak-ng >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends espeak-ng >/dev/null
fi
command -v espeak-ng >/dev/null || echo "skipped: tests of the demo's speech (no espeak-ng)"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
. "$venv/bin/activate"
rm -rf build/lib build/bdist.*
python -m pip install -q --upgrade pip
# The CPU build of torch by its number: the newest one would bring gigabytes of CUDA along.
python -m pip install -q torch==2.13.0
python -m pip install -q ".[cpu,export,dev]" einops
# Kyutai's package pins old releases of its dependencies; those it is used with here are ours.
python -m pip install -q --no-deps moshi==0.2.13

ruff check .
ruff format --check .
mypy
pytest "$@"
