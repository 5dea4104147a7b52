"""The times of the words that a text-to-speech model speaks, from the steps at which they began."""

from typing import Any, ClassVar

from ..events import Word
from ..state import Integer, Part, String


class WordTimer:
    """Takes the words as they begin and returns each when the next one, a pause or the end closes
    it.

    A word that began at machine step `s` starts at `s / frame_rate` seconds of the audio, less the
    `prefix` frames that are cut from it (moshi run_tts.py).
    """

    def __init__(self, frame_rate: float, prefix: int) -> None:
        self._frame_rate, self._prefix = frame_rate, prefix
        self._text = ""
        self.start = 0
        """The step at which the last word began."""

    def begin(self, text: str, step: int) -> list[Word]:
        """The word that ends because another, or without `text` a pause, begins at `step`."""
        words = self.end(step)
        self._text, self.start = text, step
        return words

    def end(self, step: int) -> list[Word]:
        """The word that is open, ended at `step`."""
        if not self._text:
            return []
        word = Word(self._text, self._seconds(self.start), self._seconds(step))
        self._text = ""
        return [word]

    FIELDS: ClassVar = Part({"text": String(), "start_step": Integer()})

    def save(self) -> dict[str, Any]:
        """Its memory, as `FIELDS` says."""
        return {"text": self._text, "start_step": self.start}

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on where `save` was called."""
        self._text, self.start = saved["text"], saved["start_step"]

    def _seconds(self, step: int) -> float:
        return max(0.0, (step - self._prefix) / self._frame_rate)
