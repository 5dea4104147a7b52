#!/bin/sh
# Installs the package, what its tests compare it with, and runs everything: lint, types, tests.
# Uses a virtual environment of its own, .venv-tests (or $VENV).
set -eu
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-tests}"

# Optional: espeak-ng makes speech for the demo's tests, in chromium the server's page is opened,
# chromium-common brings SwiftShader, on which WebGPU runs without a GPU, and of the others a sound
# card is made that has no hardware.
sound="pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
packages="espeak-ng chromium chromium-common $sound"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2086
    dpkg -s $packages >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } \
            >/dev/null || echo "note: apt-get could not install $packages"
fi
command -v espeak-ng >/dev/null || echo "skipped: tests of the demo's speech (no espeak-ng)"
[ -e /usr/lib/chromium/vk_swiftshader_icd.json ] ||
    echo "skipped: tests of WebGPU (no SwiftShader; Debian: chromium-common)"
command -v chromium >/dev/null || echo "skipped: tests of the server's page (no chromium)"
[ -n "${KYUTAI_PAGE:-}" ] || echo "skipped: Kyutai's own page (build it, name its dist by KYUTAI_PAGE)"
command -v pulseaudio >/dev/null && command -v pactl >/dev/null ||
    echo "skipped: tests on a sound card of software (Debian: $sound)"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
. "$venv/bin/activate"
rm -rf build/lib build/bdist.*
python -m pip install -q --upgrade pip
# The CPU build of torch by its number: the newest one would bring gigabytes of CUDA along.
python -m pip install -q torch==2.13.0
python -m pip install -q ".[cpu,webgpu,audio,serve,export,dev]" einops
# Kyutai's package pins old releases of its dependencies; those it is used with here are ours.
python -m pip install -q --no-deps moshi==0.2.13
# And what its client needs besides, with the clients that tests/conformance runs unmodified.
python -m pip install -q --no-deps "sphn>=0.2,<0.3"

# Tracing makes and drops millions of small objects. Large pages for them make it several times
# faster on virtual machines, where each small page is slow to find; elsewhere this changes nothing.
export PYTHONMALLOC=malloc GLIBC_TUNABLES=glibc.malloc.hugetlb=1

ruff check .
ruff format --check .
mypy
pytest "$@"
