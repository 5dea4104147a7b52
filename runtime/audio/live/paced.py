"""A recording played in at the pace at which it was spoken, or a multiple of it."""

from collections.abc import Iterable, Iterator

from ..framer import Framer
from ..pcm import Pcm
from .clock import Clock
from .microphone import Frame


def frames(blocks: Iterable[Pcm], size: int) -> Iterator[Pcm]:
    """All samples of the blocks, `size` at a time; the last ones may be fewer."""
    framer = Framer(size)
    for block in blocks:
        yield from framer.push(block)
    if framer.pending:
        yield framer.waiting.copy()


def paced(pieces: Iterable[Pcm], seconds: float, clock: Clock) -> Iterator[Frame]:
    """Lets pieces through one every `seconds`, when they have been spoken: those that come late
    follow at once until the pace is reached again."""
    due = clock.now()
    for piece in pieces:
        due += seconds
        while (left := due - clock.now()) > 0:
            clock.wait(left)
        yield Frame(piece, due)
