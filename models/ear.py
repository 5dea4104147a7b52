"""What one stream hears: samples become frames, and of those its batch makes codes."""

from collections import deque
from typing import Any

import numpy as np

from ..runtime.audio import Framer

Array = np.ndarray[Any, Any]


class Ear:
    """Frames that wait for their codes, and codes that wait for their step.

    The first codes are given twice, since the language model reads its initial tokens instead of
    the first ones that it is given (moshi run_inference.py).
    """

    def __init__(self, frame_size: int) -> None:
        self.doubled = False
        """Whether the codes given last are given again."""
        self.pcm = np.empty(0, np.float32)
        """The samples `[frame_size]` of which they were made; none where they came as codes."""
        self._framer = Framer(frame_size)
        self._begun = False
        self._frames: deque[Array] = deque()
        self._codes: deque[tuple[Array, Array]] = deque()

    def push(self, pcm: Array) -> None:
        """Takes float32 `[n]`, any n; what does not fill a frame waits for the rest."""
        self._frames.extend(self._framer.push(pcm))

    def cut(self) -> None:
        """Leaves out what does not fill a frame."""
        self._framer.reset()

    def give(self, codes: Array) -> None:
        """Takes codes `[frames, codebooks]` that were made elsewhere, in place of samples."""
        self._codes.extend((np.empty(0, np.float32), frame) for frame in codes)

    @property
    def waiting(self) -> int:
        """Frames that are not stepped yet."""
        return len(self._frames) + len(self._codes)

    @property
    def unheard(self) -> int:
        """Frames that have no codes yet."""
        return len(self._frames)

    @property
    def ahead(self) -> int:
        """Frames whose codes wait."""
        return len(self._codes)

    def frames(self, count: int) -> Array:
        """The first `[count, frame_size]` that have no codes yet."""
        return np.stack([self._frames[index] for index in range(count)])

    def heard(self, codes: Array) -> None:
        """Takes the codes `[frames, codebooks]` of the first frames that had none."""
        self._codes.extend((self._frames.popleft(), frame) for frame in codes)

    def next(self) -> Array:
        """Codes `[codebooks]` for the next step."""
        self.doubled, self._begun = not self._begun, True
        self.pcm, codes = self._codes[0] if self.doubled else self._codes.popleft()
        return codes

    def clear(self) -> Array:
        """Forgets all that was not stepped yet, and returns its samples `[n]`."""
        frames = [*(pcm for pcm, _ in self._codes), *self._frames, self._framer.waiting]
        samples = np.concatenate(frames)
        self._frames.clear()
        self._codes.clear()
        self._framer.reset()
        self._begun = False
        return samples

    def save(self) -> dict[str, Any]:
        codes = [codes for _, codes in self._codes]
        return {
            "begun": self._begun,
            "pending": self._framer.waiting.copy(),
            "frames": np.concatenate([np.empty(0, np.float32), *self._frames]),
            "codes": np.stack(codes) if codes else np.empty((0, 0), np.int64),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where another one stood."""
        self.clear()
        self._begun = saved["begun"]
        self.give(saved["codes"])
        self.push(saved["frames"])
        self.push(saved["pending"])
