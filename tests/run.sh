#!/bin/sh
# Installs the package, what its tests compare it with, and runs everything: lint, types, tests.
#
#   sh tests/run.sh [pytest options]            with the releases in tests/constraints.txt
#   sh tests/run.sh --newest [pytest options]   with the newest ones; if all passes, it writes them
#                                               to tests/constraints.txt
#
# Uses a virtual environment of its own, .venv-tests or .venv-newest (or $VENV).
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = --newest ]; then
    shift
    newest=yes constraints="" venv="${VENV:-.venv-newest}"
    python3 -m venv --clear "$venv"
else
    newest="" constraints="--constraint tests/constraints.txt" venv="${VENV:-.venv-tests}"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
fi

# Optional: espeak-ng makes speech for the demo's tests, in chromium the server's page is opened,
# chromium-common brings SwiftShader, on which WebGPU runs without a GPU, and of the others a sound
# card is made that has no hardware. haproxy balances two servers.
sound="pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
packages="espeak-ng chromium chromium-common haproxy $sound"
# shellcheck disable=SC2086
if command -v apt-get >/dev/null && ! dpkg -s $packages >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } \
            >/dev/null || echo "note: apt-get could not install $packages"
    else
        echo "note: for all tests, run: sudo apt-get update && sudo apt-get install $packages"
    fi
fi
command -v espeak-ng >/dev/null || echo "skipped: tests of the demo's speech (no espeak-ng)"
[ -e /usr/lib/chromium/vk_swiftshader_icd.json ] ||
    echo "skipped: tests of WebGPU (no SwiftShader; Debian: chromium-common)"
command -v chromium >/dev/null || echo "skipped: tests of the server's page (no chromium)"
command -v haproxy >/dev/null || echo "skipped: tests of a balancer (no haproxy)"
command -v docker-compose >/dev/null || echo "skipped: a check of the Swarm file (no docker-compose)"
[ -n "${KYUTAI_PAGE:-}" ] || echo "skipped: Kyutai's own page (build it, name its dist by KYUTAI_PAGE)"
command -v pulseaudio >/dev/null && command -v pactl >/dev/null ||
    echo "skipped: tests on a sound card of software (Debian: $sound)"

. "$venv/bin/activate"
rm -rf build/lib build/bdist.*
install() {
    # shellcheck disable=SC2086
    python -m pip install -q $constraints "$@"
}
install --upgrade pip setuptools
# The CPU build of torch by its number: the newest one would bring gigabytes of CUDA along.
install torch==2.13.0
install --no-build-isolation ".[cpu,webgpu,audio,serve,export,dev]" einops
# Kyutai's package pins old releases of its dependencies; those it is used with here are ours. Its
# client needs sphn besides.
install --no-deps moshi==0.2.13 sphn==0.2.1

# Tracing makes and drops millions of small objects. Large pages for them make it several times
# faster on virtual machines, where each small page is slow to find; elsewhere this changes nothing.
export PYTHONMALLOC=malloc GLIBC_TUNABLES=glibc.malloc.hugetlb=1

ruff check .
ruff format --check .
mypy
pytest -o testpaths=tests "$@"
[ -z "$newest" ] || [ $# -gt 0 ] || python tests/renew_constraints.py
