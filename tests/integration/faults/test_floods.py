"""More clients than there is room for, and thousands that come and break off."""

import socket

from support.raw_websocket import LISTEN, RawWebsocket, head, noise
from support.siege import (
    CONNECTIONS,
    FRAME,
    GROWTH_MB,
    SECONDS,
    SLOTS,
    entered,
    everything,
    used,
)
from support.waiting import until
from support.witness import Witness

from benchmarks.memory import resident_mb
from benchmarks.served import ServedProcess

CYCLES = 10_000


def test_a_flood_of_connections(server: ServedProcess, witness: Witness) -> None:
    """Each takes the place of the one that asked nothing for longest; the witness keeps its own."""
    recognized = len(witness.talks)
    for _ in range(3):
        place = "127.0.0.1", server.port
        flood = [socket.create_connection(place, SECONDS) for _ in range(2 * CONNECTIONS)]
        assert server.get("/health")
        assert [everything(client) for client in flood] == [b""] * len(flood)
        for client in flood:
            client.close()
    until(lambda: len(witness.talks) > recognized)


def test_more_streams_than_slots(server: ServedProcess) -> None:
    until(lambda: used(server) == 1)
    clients = [entered(server) for _ in range(SLOTS - 1)]
    for _ in range(10):
        with RawWebsocket(server.port) as client:
            assert client.reported() == {"type": "Error", "message": "no free channels"}
            assert client.end() == 0
    for client in clients:
        client.abort()


def abort_after(server: ServedProcess, number: int) -> None:
    """A client of one of several kinds, by its number, that breaks off."""
    if number % 4 == 0:
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as client:
            client.sendall(b"GET " + LISTEN.encode() + b" HTTP/1.1\r\nHost: loc")
        return
    client = RawWebsocket(server.port)
    if client.reported()["type"] == "Ready" and number % 4 == 2:
        client.say(type="Audio", pcm=FRAME)
    if number % 4 == 3:
        client.write(head(9619) + noise(100))
    client.abort()


def test_ten_thousand_connect_and_abort(server: ServedProcess) -> None:
    """Memory and open files after a fifth of them are those after all."""
    for number in range(CYCLES):
        if number == CYCLES // 5:
            until(lambda: used(server) == 1)
            memory, files = resident_mb(server.pid), server.open_files
        abort_after(server, number)
    until(lambda: used(server) == 1)
    until(lambda: server.open_files <= files)
    assert resident_mb(server.pid) - memory < GROWTH_MB
