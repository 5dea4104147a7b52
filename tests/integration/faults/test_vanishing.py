"""Clients that vanish, say no more, take nothing or are killed: their slots come back."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.paths import TESTS
from support.raw_websocket import CLOSE, PING, Hung, RawWebsocket, frame, head, noise
from support.siege import FRAME, SLOTS, entered, used
from support.waiting import until

from benchmarks.served import ServedProcess


def vanish_at_once(client: RawWebsocket) -> None:
    client.abort()


def vanish_amid_audio(client: RawWebsocket) -> None:
    for _ in range(5):
        client.say(type="Audio", pcm=FRAME)
    client.abort()


def vanish_amid_a_frame(client: RawWebsocket) -> None:
    client.write(head(9619) + noise(1000))
    client.abort()


def vanish_with_work_left(client: RawWebsocket) -> None:
    client.say(type="Audio", pcm=FRAME * 60)
    client.say(type="Marker", id=1)
    client.abort()


def vanish_closing(client: RawWebsocket) -> None:
    client.send(b"", CLOSE)
    client.abort()


VANISHING = [
    vanish_at_once,
    vanish_amid_audio,
    vanish_amid_a_frame,
    vanish_with_work_left,
    vanish_closing,
]


@pytest.mark.parametrize("vanish", VANISHING)
def test_a_client_vanishes(server: ServedProcess, vanish: Callable[[RawWebsocket], None]) -> None:
    for _ in range(3 * SLOTS):
        until(lambda: used(server) < SLOTS)
        vanish(entered(server))


@pytest.mark.parametrize("rest", [b"", b"\x82", head(9619) + noise(1000)])
def test_a_client_says_no_more(server: ServedProcess, rest: bytes) -> None:
    """The connection stays, its session does not."""
    with entered(server) as client:
        client.write(rest)
        until(lambda: used(server) == 1)


def test_a_client_takes_nothing(server: ServedProcess) -> None:
    """What is sent to it fills all that lies between, and then its session ends."""
    with entered(server, size=4096) as client:
        client.socket.settimeout(0.5)
        pings = frame(bytes(125), PING) * 100_000
        with pytest.raises(Hung):
            client.write(pings)
        until(lambda: used(server) == 1)


CLIENT = """
import sys
from support.raw_websocket import RawWebsocket
clients = [RawWebsocket(int(sys.argv[1])) for _ in range(3)]
for client in clients:
    assert client.reported()["type"] == "Ready"
print("ready", flush=True)
while True:
    for client in clients:
        client.say(type="Audio", pcm=[0.0] * 1920)
    print("spoken", flush=True)
    sys.stdin.readline()
"""


def test_a_process_of_clients_is_killed(server: ServedProcess) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", CLIENT, str(server.port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        assert clients.stdout.readline() == b"ready\n"
        until(lambda: used(server) == 4)
        for _ in range(5):
            assert clients.stdout.readline() == b"spoken\n"
            clients.stdin.write(b"\n")
            clients.stdin.flush()
        clients.send_signal(signal.SIGKILL)
        clients.wait()
