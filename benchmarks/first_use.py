"""The first use of a repository of the published size, with torch and onnx kept from import.

    python -m benchmarks.first_use --work FOLDER [--model stt-1b-en_fr] [--precision int4]
                                   [--kill-at 1.7e9]

A stand-in for the Hub on this machine serves a checkpoint of random weights. A first process is
killed after so many bytes; then two processes ask for the model at once, of which one resumes the
download and converts, and the other one waits. Speech to text transcribes a sample of the demo; of
other models the manifest is printed. Processor seconds are those of all threads of a process, the
peak is the most memory that it held, with mapped files.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kyutai_onnx.conversion.first_use import PAUSE_HEADS
from kyutai_onnx.models.families import SAMPLES
from tests.renew_templates import CONFIGS
from tests.support.hub_server import HubServer, hub_server

from .published import write_published

REPOSITORIES = {
    "hibiki-1b": "kyutai/hibiki-1b-pytorch-bf16",
    "hibiki-2b": "kyutai/hibiki-2b-pytorch-bf16",
    "hibiki-zero-3b": "kyutai/hibiki-zero-3b-pytorch-bf16",
    "moshi-7b": "kyutai/moshiko-pytorch-bf16",
}
"""Of models whose repository is called otherwise."""
INTERVAL = 0.05
PROGRAM = """
import atexit
import json
import sys
import time

BLOCKED = {"torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "gguf", "moshi"}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from benchmarks.memory import peak_mb
from kyutai_onnx.cli.main import main
from kyutai_onnx.conversion import first_use

fill, found, report = first_use.fill_template, {}, sys.argv.pop(1)


def measured(*arguments):
    started, computed = time.perf_counter(), time.process_time()
    fill(*arguments)
    found["seconds"] = time.perf_counter() - started
    found["processor_seconds"] = time.process_time() - computed
    found["conversion_peak_mb"] = peak_mb()


def write():
    assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
    found["all_processor_seconds"], found["peak_mb"] = time.process_time(), peak_mb()
    with open(report, "w") as file:
        json.dump(found, file)


first_use.fill_template = measured
atexit.register(write)
main()
"""


@contextmanager
def served(model: str, work: Path) -> Iterator[HubServer]:
    """A Hub with the checkpoint of a model, and with the one that has its pause heads."""
    repo = repository(model)
    write_published(model, work / repo)
    if sister := PAUSE_HEADS.get(repo):
        write_published(sister.rpartition("/")[2], work / sister)
    with hub_server(work) as hub:
        for file in work.rglob("*.safetensors"):
            hub.hash_of(file)  # beforehand, or a client may wait too long for its first answer
        yield hub


def repository(model: str) -> str:
    return REPOSITORIES.get(model, f"kyutai/{model}")


class Use:
    """A process that uses a model by the name of its repository."""

    def __init__(self, model: str, precision: str, hub: HubServer, home: Path, name: str) -> None:
        self._report, self._out = home / f"{name}.json", home / f"{name}.out"
        speech = CONFIGS[model].get("model_type") == "stt"
        sample = min(SAMPLES.glob("*.flac"))
        command = ["transcribe", str(sample), "--vad"] if speech else ["info", "--json"]
        options = ["--model", repository(model), "--precision", precision]
        with self._out.open("w") as out, (home / f"{name}.err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self._report), *command, *options],
                stdout=out,
                stderr=err,
                env=os.environ | hub.environment(home),
            )

    def end(self) -> dict[str, float]:
        """Wait for the process, and return what it measured."""
        if self.process.wait() != 0:
            raise SystemExit(self._out.with_suffix(".err").read_text())
        found: dict[str, float] = json.loads(self._report.read_text())
        return found

    @property
    def output(self) -> str:
        return self._out.read_text()


def kill(use: Use, hub: HubServer, after: int) -> int:
    """Kill a process when so many bytes have come, and return how many had."""
    while received(hub) < after:
        assert use.process.poll() is None, "it ended before"
        time.sleep(INTERVAL)
    use.process.send_signal(signal.SIGKILL)
    use.process.wait()
    return received(hub)


def received(hub: HubServer) -> int:
    return sum(count for *_, count in hub.sent)


def measure(model: str, precision: str, kill_at: int, work: Path) -> None:
    home = work / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with served(model, work) as hub:
        before = kill(Use(model, precision, hub, home, "killed"), hub, kill_at)
        uses = [Use(model, precision, hub, home, name) for name in ("one", "two")]
        found = [use.end() for use in uses]
        after = received(hub) - before
        made = list((home / "cache" / "bundles").iterdir())
    assert len(made) == 1, made
    assert uses[0].output == uses[1].output
    assert sum("seconds" in one for one in found) == 1
    bundle = sum(file.stat().st_size for file in made[0].iterdir())
    print(
        f"{model} {precision}: killed after {before / 1e9:.2f} GB; {after / 1e9:.2f} GB downloaded "
        f"by the next two; a bundle of {bundle / 1e9:.2f} GB"
    )
    for one in found:
        print(json.dumps({name: round(value, 1) for name, value in one.items()}))
    shutil.rmtree(home)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="stt-1b-en_fr", choices=CONFIGS)
    parser.add_argument("--precision", default="int4", choices=["int8", "int4"])
    parser.add_argument("--kill-at", type=float, default=1.7e9, help="bytes")
    arguments = parser.parse_args()
    measure(arguments.model, arguments.precision, int(arguments.kill_at), arguments.work)


if __name__ == "__main__":
    main()
