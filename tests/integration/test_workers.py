"""A file's tests run on one worker: what its module makes is made once."""

import os
import re
import subprocess
import sys

from support.paths import ROOT

FILES = [
    "tests/unit/runtime/test_npz.py",
    "tests/unit/runtime/test_rows_in_use.py",
    "tests/unit/test_families.py",
]
RUN = re.compile(r"^\[(gw\d)\] \[.*?\] PASSED (.*?)::", re.MULTILINE)


def test_each_file_has_one_worker() -> None:
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "-p", "no:cacheprovider", *FILES]
    ours = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    done = subprocess.run(
        command, cwd=ROOT, env=ours, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
    runs = RUN.findall(done.stdout)
    assert len(runs) > 50
    assert len({worker for worker, _ in runs}) == 2
    assert {file for _, file in runs} == set(FILES)
    assert len(set(runs)) == len(FILES)
