"""Opens the page and posts a recording over and over until standard input ends, then writes how
long each took and what it got, as JSON."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .clients import connection
from .payloads import FORM, form

SAMPLE = Path(__file__).parents[2] / "models" / "demo" / "samples" / "train.flac"
PAGE_EVERY, UPLOAD_EVERY = 0.25, 1.5
PATIENCE, LAST_SECONDS = 30.0, 5.0
Answer = tuple[float, float, int, str]
"""When it was asked for, in how many seconds it came, its status (0 for none) and text."""


class Bystander:
    """One client, in a thread of its own."""

    def __init__(self, url: str, every: float, ask: Callable[[str], tuple[int, str]]) -> None:
        self._url, self._every, self._ask = url, every, ask
        self._done = threading.Event()
        self._asked: float | None = None
        self.answers: list[Answer] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._done.is_set():
            self._asked = started = time.monotonic()
            try:
                status, text = self._ask(self._url)
            except (OSError, http.client.HTTPException):
                status, text = 0, ""
            self.answers.append((started, time.monotonic() - started, status, text))
            self._asked = None
            self._done.wait(max(started + self._every - time.monotonic(), 0.0))

    def end(self) -> list[Answer]:
        """All answers; one that does not come in the end has the status 0."""
        self._done.set()
        self._thread.join(LAST_SECONDS)
        if (asked := self._asked) is not None:
            self.answers.append((asked, time.monotonic() - asked, 0, ""))
        return self.answers


def get_page(url: str) -> tuple[int, str]:
    """Open the page."""
    client = connection(url, PATIENCE)
    try:
        client.request("GET", "/", headers={"Connection": "close"})
        answer = client.getresponse()
        answer.read()
        return answer.status, ""
    finally:
        client.close()


def post_recording(url: str, key: str | None) -> tuple[int, str]:
    """Have the sample transcribed."""
    client = connection(url, PATIENCE)
    headers = {"Content-Type": FORM, "Connection": "close"}
    if key is not None:
        headers["kyutai-api-key"] = key
    try:
        body = form(SAMPLE.read_bytes(), response_format="text")
        client.request("POST", "/v1/audio/transcriptions", body, headers)
        answer = client.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        client.close()


def main() -> None:
    url, key = sys.argv[1], sys.argv[2] if sys.argv[2:] else None
    pages = Bystander(url, PAGE_EVERY, get_page)
    uploads = Bystander(url, UPLOAD_EVERY, lambda place: post_recording(place, key))
    sys.stdin.read()
    json.dump({"pages": pages.end(), "uploads": uploads.end()}, sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
