"""What HAProxy costs before servers, by the files in `deploy/cluster`.

    python -m benchmarks.balanced --streams 8 --seconds 15

Two real `kyutai-onnx serve` processes of the embedded demo, HAProxy, and the speakers of
`benchmarks.serving` in a process of their own, all on this machine. It prints the median round
trip of a ping to a server and through HAProxy, asked in turn, the processor time of HAProxy for the
streams, and the bytes of one stream.
"""

import argparse
import contextlib
import csv
import re
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

from websockets.sync.client import connect

from kyutai_onnx.models.resolve import DEMO

from .peers import ROOT
from .served import PATIENCE, ServedProcess, cpu_seconds
from .serving import MOST_TALKS, measure, references
from .serving_clients import Plan

CLUSTER = ROOT / "deploy" / "cluster"
FILES = ("haproxy.cfg", "servers.cfg")
SLOTS = 8
"""As in haproxy.cfg."""
INTER = "5s"
"""Between two probes, as in haproxy.cfg."""
PATH = "/api/asr-streaming"
PINGS, PAUSE = 500, 0.002


def cluster_server(log: Path, name: str) -> ServedProcess:
    """Start a server of the demo as the files in `deploy/cluster` do, that drains for ever."""
    model = ("--model", DEMO / "stt", "--instance", name)
    return ServedProcess(log, *model, "--slots", SLOTS, "--when-full", "503", "--drain", "inf")


class Balancer:
    """HAProxy before servers that are named as in servers.cfg; `folder` keeps its files. It probes
    them every `inter`."""

    def __init__(self, folder: Path, servers: Mapping[str, ServedProcess], inter: str) -> None:
        with contextlib.ExitStack() as stack:
            clients, figures = (
                stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
            )
            self.url, self._figures = (
                f"http://127.0.0.1:{bound.getsockname()[1]}" for bound in (clients, figures)
            )
            ports = {":8998": clients.fileno(), ":8404": figures.fileno()}
            for name in FILES:
                text = (CLUSTER / name).read_text("utf-8")
                for port, descriptor in ports.items():
                    text = text.replace(f"bind {port}", f"bind fd@{descriptor}")
                text = text.replace(f"inter {INTER} ", f"inter {inter} ")
                for server, process in servers.items():
                    address = f"server {server} 127.0.0.1:{process.port}"
                    text = re.sub(rf"server {server} \S+", address, text)
                (folder / name).write_text(text, "utf-8")
            arguments = [part for name in FILES for part in ("-f", str(folder / name))]
            log = stack.enter_context((folder / "haproxy.log").open("wb"))
            self._process = subprocess.Popen(
                ["haproxy", "-db", *arguments],
                pass_fds=ports.values(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with urlopen(f"{self.url}/balancer", timeout=PATIENCE):
            pass

    @property
    def cpu_seconds(self) -> float:
        """Time that processors have spent on it."""
        return cpu_seconds(self._process.pid)

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes of all clients that have left, to the servers and from them."""
        row = self._row("clients", "FRONTEND")
        return int(row["bin"]), int(row["bout"])

    def takes(self, server: str) -> bool:
        """Return whether it sends streams of speech to text to a server."""
        return self._row("transcribe", server)["status"].startswith("UP")

    def _row(self, *names: str) -> dict[str, str]:
        with urlopen(f"{self._figures}/;csv", timeout=PATIENCE) as answer:
            rows = csv.DictReader(answer.read().decode().removeprefix("# ").splitlines())
        return next(row for row in rows if (row["pxname"], row["svname"]) == names)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def balanced(
    folder: Path, inter: str = INTER
) -> Iterator[tuple[Balancer, ServedProcess, ServedProcess]]:
    """A balancer before two servers, `one` and `two`, while the block runs."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for name in ("one", "two"):
            servers[name] = cluster_server(folder / f"{name}.log", name)
            stack.callback(servers[name].kill)
        balancer = Balancer(folder, servers, inter)
        stack.callback(balancer.kill)
        yield balancer, servers["one"], servers["two"]


def round_trips(*urls: str) -> list[float]:
    """Return the median of seconds from a ping to its pong at each address, asked in turn."""
    with contextlib.ExitStack() as stack:
        found = [list[float]() for _ in urls]
        clients = [
            stack.enter_context(connect(f"ws{url.removeprefix('http')}{PATH}", proxy=None))
            for url in urls
        ]
        for _ in range(PINGS):
            for client, seconds in zip(clients, found, strict=True):
                started = time.perf_counter()
                client.ping().wait(PATIENCE)
                seconds.append(time.perf_counter() - started)
                time.sleep(PAUSE)
    return [statistics.median(seconds) for seconds in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=8, help="at most 16: the slots of both")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a talk")
    given = parser.parse_args()
    known = references(None, min(MOST_TALKS, given.streams), given.seconds)
    with (
        tempfile.TemporaryDirectory() as folder,
        balanced(Path(folder)) as (balancer, one, _),
    ):
        direct, through = round_trips(one.url, balancer.url)
        used, before = balancer.cpu_seconds, balancer.traffic
        plan = Plan(balancer.url, given.streams, len(known), given.seconds, 0, None)
        found = measure(one, plan, known)
        used = balancer.cpu_seconds - used
        traffic = zip(before, balancer.traffic, strict=True)
    streamed = given.streams * given.seconds
    sent, received = ((last - first) / streamed / 1000 for first, last in traffic)
    print(f"round trip: {1000 * direct:.2f} ms, through HAProxy {1000 * through:.2f} ms")
    print(f"HAProxy: {used / given.seconds:.4f} of a processor for {given.streams} streams")
    print(f"a stream: {sent:.1f} kB/s to the server, {received:.2f} kB/s from it")
    print(f"streams with other words: {found.differing}, cut off: {found.failed}")


if __name__ == "__main__":
    main()
