"""The files that a command, or a websocket session of a server, passes through: those of ours with
a function that runs.

python -m benchmarks.roads                       count the roads of docs/architecture.md
python -m benchmarks.roads transcribe speech.wav  list the files of one command
python -m benchmarks.roads session                list those of a session of speech to text
"""

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from kyutai_onnx import cli
from kyutai_onnx.cli.main import run
from kyutai_onnx.models.families import SAMPLES, SPEECH_TO_TEXT
from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.server.config import ModelConfig, ServerConfig
from kyutai_onnx.server.moshi_server.messages import AudioMessage, EosMessage
from kyutai_onnx.server.registry import load_models
from kyutai_onnx.server.server import Server
from kyutai_onnx.server.wire.messagepack import pack

SESSION = "session"
RECORDING = str(SAMPLES / "train.flac")
ROADS = (
    ["transcribe", "--quiet", RECORDING],
    ["stream", "--quiet", "--input-file", RECORDING],
    [SESSION],
)
OURS = Path(cli.__file__).parents[1]
FUNCTION = 2
"""The flag of code that runs when a function is called, and not of a module or a class."""


class Passed:
    """A profiler that notes the files of the functions that are called, in all threads."""

    def __init__(self) -> None:
        self._codes: set[CodeType] = set()

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self._codes.add(frame.f_code)

    def forget(self) -> None:
        """Count from now on."""
        self._codes.clear()

    @property
    def files(self) -> list[str]:
        """The files below our package, in order."""
        functions = (code for code in self._codes.copy() if code.co_flags & FUNCTION)
        files = {Path(code.co_filename) for code in functions}
        return sorted(str(file.relative_to(OURS)) for file in files if file.is_relative_to(OURS))


def passed(arguments: list[str]) -> list[str]:
    """Run a command in this process and return the files that it passed through."""
    found = Passed()
    threading.setprofile(found.note)
    sys.setprofile(found.note)
    try:
        code = run(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        raise SystemExit(code)
    return found.files


def passed_by_a_session() -> list[str]:
    """Serve one session of speech to text and return the files that the server passed through from
    its start to its end; the client runs in a thread that is not profiled."""
    found = Passed()
    threading.setprofile(found.note)
    config = ServerConfig(models=(ModelConfig(task=SPEECH_TO_TEXT.name),), port=0, drain=0.0)
    registry, loop = load_models(config, lambda _: None), asyncio.new_event_loop()
    server = Server(config)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(registry), loop).result()
    found.forget()
    url = server.url.replace("http", "ws", 1) + str(SPEECH_TO_TEXT.socket)
    try:
        with connect(url) as client:
            for block in read_audio(Path(RECORDING), server.registry.all[0].model.sample_rate):
                client.send(pack(AudioMessage(block)))
            client.send(pack(EosMessage()))
            with suppress(ConnectionClosed):
                while True:
                    client.recv()
        return found.files
    finally:
        threading.setprofile(None)
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def count(arguments: list[str]) -> int:
    """Count the files of a command, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.roads", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return len(done.stderr.splitlines())


def main() -> None:
    if len(sys.argv) == 1:
        for road in ROADS:
            print(f"{road[0]} {count(road)}")
        return
    files = passed_by_a_session() if sys.argv[1:] == [SESSION] else passed(sys.argv[1:])
    print(*files, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
