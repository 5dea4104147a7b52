"""The pace at which a recording is played in: a frame when it has been spoken."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..runtime.audio import Framer, Pcm
from .messages import say


def frames(blocks: Iterable[Pcm], size: int) -> Iterator[Pcm]:
    """All samples of the blocks, `size` at a time; the last ones may be fewer."""
    framer = Framer(size)
    for block in blocks:
        yield from framer.push(block)
    rest = framer.waiting.copy()
    if len(rest):
        yield rest


class Pace:
    """Lets frames through one every `seconds`, and notes by how much work on them came to lag."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.most_behind = seconds, 0.0
        self.behind = 0.0
        self._due: float | None = None

    def paced(self, pieces: Iterable[Pcm]) -> Iterator[Pcm]:
        """The frames at their pace; what is done with each until the next is the work on it."""
        for piece in pieces:
            self.wait()
            with self.working():
                yield piece

    def tell(self, *, quiet: bool) -> None:
        """Says so where the work could not keep up."""
        if self.most_behind > self.seconds:
            say(f"note: up to {self.most_behind:.2f} s behind the speaker", quiet=quiet)

    def wait(self) -> None:
        """Returns when the next frame has been spoken."""
        now = time.monotonic()
        self._due = (now if self._due is None else self._due) + self.seconds
        if self._due > now:
            time.sleep(self._due - now)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the work on a frame: what it takes beyond the frame's own time adds up."""
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        self.behind = max(0.0, self.behind + took - self.seconds)
        self.most_behind = max(self.most_behind, self.behind)
