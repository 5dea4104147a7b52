"""The text of a model that speaks, from one token a frame: pieces as they come, and timed words.

Pieces are those of moshi run_inference.py, except that bytes are put together to characters and
control tokens are left out. Times count from the first frame of the speech itself.
"""

import codecs
from typing import Any, ClassVar

from ...runtime.tokenizer import Tokenizer
from ..events import Text, Word, to_millisecond
from ..stream_state import Integer, List, Record, String

LONGEST_SECONDS = 1.0
"""For how long after its last token a word lasts, if no boundary comes before."""


class IncrementalDetokenizer:
    """Takes tokens and returns the characters that each completes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text of a token; of a byte of a character, nothing until its last one."""
        if not 0 <= token < self._tokenizer.get_piece_size() or self._tokenizer.is_control(token):
            return self.flush()
        piece = self._tokenizer.id_to_piece(token)
        if self._tokenizer.is_byte(token):
            return self._bytes.decode(bytes([int(piece[3:-1], 16)]))
        return self.flush() + piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")

    def flush(self) -> str:
        """Return a replacement character if bytes wait for the rest of a character."""
        return self._bytes.decode(b"", final=True)

    def save(self) -> list[int]:
        return list(self._bytes.getstate()[0])

    def load(self, saved: list[int]) -> None:
        self._bytes.setstate((bytes(saved), 0))


class TimedDetokenizer:
    """Takes the text token of each frame that was spoken.

    A word starts at the frame of its first token and ends at the boundary token or the word that
    follows, or a second after its last token.
    """

    def __init__(
        self, tokenizer: Tokenizer, frame_rate: float, *, padding: int, boundary: int
    ) -> None:
        self._pieces = IncrementalDetokenizer(tokenizer)
        self._frame_rate = frame_rate
        self._padding, self._boundary = padding, boundary
        self._frame = self._first = self._last = 0
        self._word = ""

    @property
    def seconds(self) -> float:
        """Of speech whose text was taken."""
        return self._frame / self._frame_rate

    def push(self, token: int) -> list[Text | Word]:
        """The text that the token of this frame adds, and the word that it ends."""
        piece = "" if token in (self._padding, self._boundary) else self._pieces.push(token)
        rested = self._frame - self._last >= LONGEST_SECONDS * self._frame_rate
        events: list[Text | Word] = []
        if token == self._boundary or rested or piece[:1].isspace():
            events += self._close()
        events += self._add(piece)
        self._frame += 1
        return events

    def flush(self) -> list[Text | Word]:
        """What is left when no more tokens come."""
        return [*self._add(self._pieces.flush()), *self._close()]

    def _add(self, piece: str) -> list[Text]:
        if not piece:
            return []
        if not self._word:
            self._first = self._frame
        self._word += piece
        self._last = self._frame
        return [Text(piece)]

    def _close(self) -> list[Word]:
        text, self._word = self._word.strip(), ""
        if not text:
            return []
        return [Word(text, self._seconds(self._first), self._seconds(self._frame))]

    def _seconds(self, frame: int) -> float:
        return to_millisecond(frame / self._frame_rate)

    FIELDS: ClassVar = Record(
        {
            "frame": Integer(),
            "word_frame": Integer(),
            "last_frame": Integer(),
            "word": String(),
            "bytes": List(Integer(0, 255), 3),
        }
    )

    def save(self) -> dict[str, Any]:
        """Where the text stands: the open word and the bytes of an open character."""
        return {
            "frame": self._frame,
            "word_frame": self._first,
            "last_frame": self._last,
            "word": self._word,
            "bytes": self._pieces.save(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._frame, self._first = saved["frame"], saved["word_frame"]
        self._last, self._word = saved["last_frame"], saved["word"]
        self._pieces.load(saved["bytes"])
