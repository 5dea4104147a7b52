"""One attack in a process of its own: reads what it is to do from standard input, and writes what
it got to standard output, both JSON."""

import json
import os
import sys
import traceback

from . import ATTACKS
from .target import Target

NICENESS = 10
"""Attackers stand for other machines, so they leave the processors to the server if they can."""


def main() -> None:
    os.nice(NICENESS)
    given = json.load(sys.stdin)
    attack = ATTACKS[given.pop("name")]
    target = Target(**given)
    target.begin()
    error = None
    try:
        attack.run(target)
    except Exception:
        error = traceback.format_exc()
    json.dump({"statuses": dict(target.statuses), "error": error}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # clients that still wait are threads


if __name__ == "__main__":
    main()
