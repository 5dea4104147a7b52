"""The endurance benchmark's short form: a stream that is loaded again and again makes the same."""

import json
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT


def test_a_stream_that_is_saved_and_loaded_makes_the_same_tokens(tmp_path: Path) -> None:
    given = ["--folder", str(tmp_path), "--frames", "400", "--every", "200"]
    for _ in range(2):  # the second time there is nothing left to do
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.endurance", *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        result = json.loads(ended.stdout.splitlines()[-1])
        assert result["equal"]
        assert (result["frames"], result["loads"]) == (400, 1)
        assert result["loads_of_the_whole"] == result["words_out_of_time"] == 0
        assert result["words"] > 20
