"""The frames and codes of one row that wait for their step."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...runtime.audio import Framer, check_samples
from ...runtime.typing import Array
from ..stream_state import Flag, Record, Tensor


class FrameQueue:
    """Frames that wait for their codes, and codes that wait for their step.

    The first codes are given twice, since the language model reads its initial tokens instead of
    the first ones that it is given (moshi run_inference.py), unless it `has_begun` before.
    """

    def __init__(self, frame_size: int, codebooks: int, *, has_begun: bool = False) -> None:
        self._codebooks = codebooks
        self.doubled = False
        """Whether the codes given last are given again."""
        self.pcm = np.empty(0, np.float32)
        """The samples `[frame_size]` of which they were made; none if they came as codes."""
        self._framer = Framer(frame_size)
        self._begun = has_begun
        self._frames: deque[Array] = deque()
        self._codes: deque[tuple[Array, Array]] = deque()

    def push(self, pcm: Array) -> None:
        """Take float32 `[n]`, any n; what does not fill a frame waits for the rest. Raises
        UsageError for samples that are no audio (`check_samples`)."""
        check_samples(pcm)
        self._frames.extend(self._framer.push(pcm))

    def cut(self) -> None:
        """Leave out what does not fill a frame."""
        self._framer.reset()

    def push_codes(self, codes: Array) -> None:
        """Take codes `[frames, codebooks]` that were made elsewhere, in place of samples."""
        self._codes.extend((np.empty(0, np.float32), frame) for frame in codes)

    @property
    def waiting(self) -> int:
        """Frames that are not stepped yet."""
        return len(self._frames) + len(self._codes)

    @property
    def unencoded(self) -> int:
        """Frames that have no codes yet."""
        return len(self._frames)

    @property
    def encoded(self) -> int:
        """Frames whose codes wait."""
        return len(self._codes)

    def frames(self, count: int) -> Array:
        """The first `[count, frame_size]` that have no codes yet."""
        return np.stack([self._frames[index] for index in range(count)])

    def put_codes(self, codes: Array) -> None:
        """Take the codes `[frames, codebooks]` of the first frames that had none."""
        self._codes.extend((self._frames.popleft(), frame) for frame in codes)

    def next(self) -> Array:
        """Codes `[codebooks]` for the next step."""
        self.doubled, self._begun = not self._begun, True
        self.pcm, codes = self._codes[0] if self.doubled else self._codes.popleft()
        return codes

    def clear(self) -> Array:
        """Forget all that was not stepped yet, and returns its samples `[n]`."""
        frames = [*(pcm for pcm, _ in self._codes), *self._frames, self._framer.waiting]
        samples = np.concatenate(frames)
        self._frames.clear()
        self._codes.clear()
        self._framer.reset()
        self._begun = False
        return samples

    @staticmethod
    def fields(frame_size: int, codebooks: int, cardinality: int) -> Record:
        """What is saved, of a codec with so many codebooks that are read."""
        return Record(
            {
                "started": Flag(),
                "codes": Tensor("int64", ("coded", codebooks), 0, cardinality - 1),
                "coded_frames": Tensor("float32", ("coded", frame_size)),
                "frames": Tensor("float32", ("frames", frame_size)),
                "partial_frame": Tensor("float32", ("samples",)),
            }
        )

    def save(self) -> dict[str, Any]:
        """Its memory, as `fields` says."""
        size = self._framer.frame_size
        none = np.empty((0, self._codebooks), np.int64)
        coded = [pcm if len(pcm) else np.zeros(size, np.float32) for pcm, _ in self._codes]
        return {
            "started": self._begun,
            "codes": np.concatenate([none, *(codes[None] for _, codes in self._codes)]),
            "coded_frames": _stacked(coded, size),
            "frames": _stacked(self._frames, size),
            "partial_frame": self._framer.waiting.copy(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue where another one stood."""
        self.clear()
        self._begun = saved["started"]
        self._codes.extend(zip(saved["coded_frames"], saved["codes"], strict=True))
        self._frames.extend(saved["frames"])
        self.push(saved["partial_frame"])


def _stacked(frames: Iterable[Array], size: int) -> Array:
    """Frames `[n, size]`, which may be none."""
    return np.concatenate([np.empty((0, size), np.float32), *(frame[None] for frame in frames)])
