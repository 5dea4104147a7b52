"""A stream that transcribes a talk again and again while others misbehave: its words stay right."""

import threading
import time
from typing import Self

from support.raw_websocket import RawWebsocket
from support.speech import Array

FRAME = 1920
FRAME_SECONDS = 0.08


class Witness:
    """Speaks `pcm` in real time, over and over, from a thread of its own. `check` is whether all
    is well so far; the block is entered once it is let in, and left at the end of a talk."""

    def __init__(self, port: int, pcm: Array, words: list[str]) -> None:
        self._port, self._expected = port, words
        frames = [pcm[start : start + FRAME] for start in range(0, len(pcm), FRAME)]
        silence = pcm[:0].tolist() + [0.0] * FRAME
        self._frames = [frame.tolist() for frame in frames] + [silence] * 13
        self._done, self._started = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="witness")
        self.talks: list[list[str]] = []
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self.check()

    def check(self) -> None:
        """Nobody ended it, and every talk was transcribed as it is alone."""
        if self.error is not None:
            raise self.error
        assert self.talks == [self._expected] * len(self.talks)

    def _work(self) -> None:
        try:
            with RawWebsocket(self._port) as client:
                assert client.reported()["type"] == "Ready"
                self._started.set()
                while not self.talks or not self._done.is_set():
                    self._talk(client, len(self.talks))
        except BaseException as error:
            self.error = error
            self._started.set()

    def _talk(self, client: RawWebsocket, number: int) -> None:
        """One talk, from a state that nothing is left in, to its marker."""
        client.say(type="Init")
        words: list[str] = []
        begun = False
        start = time.monotonic()
        for index, frame in enumerate([*self._frames, None]):
            due = start + index * FRAME_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))
            if frame is None:
                client.say(type="Marker", id=number)
                client.say(type="Audio", pcm=[0.0] * FRAME * 10)
            else:
                client.say(type="Audio", pcm=frame)
        while (reported := client.reported())["type"] != "Marker":
            begun |= reported["type"] == "Ready"
            if begun and reported["type"] == "Word":
                words.append(reported["text"])
        assert reported["id"] == number
        self.talks.append(words)
