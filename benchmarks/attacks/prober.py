"""Asks `/health` on a connection of its own every 20 ms until standard input ends, then writes when
each question was asked, how long the answer took and whether it was 200, as JSON."""

import http.client
import json
import sys
import threading
import time

from .clients import connection

EVERY = 0.02
PATIENCE = 5.0


def ask(url: str) -> tuple[float, float, bool]:
    """The time, the seconds that an answer took, and whether the server is well."""
    started = time.monotonic()
    try:
        client = connection(url, PATIENCE)
        try:
            client.request("GET", "/health", headers={"Connection": "close"})
            well = client.getresponse().status == 200
        finally:
            client.close()
    except (OSError, http.client.HTTPException):
        well = False
    return started, time.monotonic() - started, well


def main() -> None:
    url, done = sys.argv[1], threading.Event()
    found: list[tuple[float, float, bool]] = []

    def probe() -> None:
        due = time.monotonic()
        while not done.is_set():
            found.append(ask(url))
            due = max(due + EVERY, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))

    prober = threading.Thread(target=probe)
    prober.start()
    sys.stdin.read()
    done.set()
    prober.join()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
