"""The decoder processes. On Linux one process that has loaded the decoders forks another for each
job, which takes milliseconds and 3 MB; elsewhere each job starts a process.

Run with `fork FD`, a socket over which processes are requested, or with a job, which is then done
over standard input and output.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

HEADER = struct.Struct("<BI")
"""Type and length of a payload."""
REQUEST, ANSWER, ERROR = range(3)
FLAG = "--decode"
"""The first argument of a packed application that makes it such a process."""
FORK, END = "fork", "end"
LONGEST = 1 << 12
"""Bytes of a request to the process that forks."""
OURS = ("AudioError", "UsageError", "ProtocolError")

Job = Callable[[bytes], bytes]


@dataclass(frozen=True)
class JobSpec:
    """A job by the name of its class, `module:Class`, and its limits: bytes of memory besides what
    its process starts with, seconds of processor time for each request, and its niceness."""

    job: str
    memory: int
    processor: int
    nice: int

    def pack(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, packed: str) -> Self:
        """Read it from JSON."""
        return cls(**json.loads(packed))


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the payload of the next frame; None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    _, size = HEADER.unpack(header)
    payload = stream.read(size)
    return payload if len(payload) == size else None


def write_frame(stream: BinaryIO, kind: int, payload: bytes) -> None:
    """Send a frame at once."""
    stream.write(HEADER.pack(kind, len(payload)))
    stream.write(payload)
    stream.flush()


def main(arguments: list[str]) -> None:
    """Run until the server has gone."""
    if arguments[0] == FORK:
        fork_jobs(socket.socket(fileno=int(arguments[1])))
        return
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    with os.fdopen(reading, "rb") as requests, os.fdopen(writing, "wb") as answers:
        run_job(JobSpec.parse(arguments[0]), requests, answers)


def fork_jobs(control: socket.socket) -> None:
    """Fork a process for each job that arrives with a socket, and end a process whose number
    arrives alone. When the server has gone, end all."""
    _load_decoders()
    for descriptor in (1, 2):
        os.set_blocking(descriptor, False)  # what nobody reads fast enough is lost
    running: dict[str, int] = {}
    while True:
        select.select([control], [], [], 1.0)
        for number in [n for n, process in running.items() if os.waitpid(process, os.WNOHANG)[0]]:
            del running[number]
        try:
            data, descriptors, _, _ = socket.recv_fds(control, LONGEST, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not data:
            break
        number, _, asked = data.decode().partition(" ")
        if descriptors:
            _fork(number, JobSpec.parse(asked), descriptors[0], control, running)
        elif number in running:
            os.kill(running[number], signal.SIGKILL)
    for process in running.values():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def run_job(spec: JobSpec, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer the requests of a job until the server has gone."""
    module, _, name = spec.job.partition(":")
    job: Job = getattr(importlib.import_module(module), name)()
    _limit(spec)
    while (request := read_frame(requests)) is not None:
        _allow(spec.processor)
        try:
            kind, answer = ANSWER, job(request)
        except Exception as error:
            kind, answer = ERROR, _described(error)
        write_frame(answers, kind, answer)


def _load_decoders() -> None:
    """Import all that jobs need, once for all processes that are forked."""
    from ...runtime.audio.files import media  # noqa: F401
    from . import jobs  # noqa: F401

    gc.collect()
    gc.freeze()


def _fork(
    number: str, spec: JobSpec, descriptor: int, control: socket.socket, running: dict[str, int]
) -> None:
    try:
        process = os.fork()
    except OSError:  # the server sees the end of the socket
        os.close(descriptor)
        return
    if process:
        os.close(descriptor)
        running[number] = process
        return
    try:
        control.close()
        channel = socket.socket(fileno=descriptor)
        _end_with(channel)
        with channel, channel.makefile("rb") as requests, channel.makefile("wb") as answers:
            run_job(spec, requests, answers)
    except OSError:
        pass  # the server wants no answer any more
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _end_with(channel: socket.socket) -> None:
    """End this process when the server has closed its end, whatever it does: the process that would
    end it may have gone."""
    closed = select.poll()
    closed.register(channel, select.POLLRDHUP)

    def wait() -> None:
        closed.poll()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _limit(spec: JobSpec) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    os.nice(spec.nice)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = Path("/proc/self/statm")
    if size.exists():
        used = int(size.read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, used + spec.memory)


def _allow(seconds: int) -> None:
    """Have the system end this process after so many seconds of processor time from now."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def _lower(kind: int, limit: int) -> None:
    """Set a limit of the system, never above the one that the server was started with."""
    import resource

    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _described(error: Exception) -> bytes:
    """Return the type of an error and its line; of an unexpected one, the type alone."""
    name = type(error).__name__
    if name in OURS:
        return f"{name}\n{error}".encode()
    traceback.print_exc()
    return f"AudioError\nthe audio cannot be decoded ({name}): convert it to wav first".encode()


if __name__ == "__main__":
    main(sys.argv[1:])
