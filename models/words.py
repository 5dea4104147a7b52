"""Words and their times from text tokens.

The rule is that of `tokens_to_timestamped_text` in Kyutai's delayed-streams-modeling
(scripts/stt_from_file_pytorch.py): a boundary token stands before each word; what lies between two
boundaries is a word, or several that were said too quickly to be told apart; after the last one a
word ends where the stream does, or a second later.
"""

from typing import Any, Protocol

from .events import Word

EOS = 2


class Tokenizer(Protocol):
    """What is used of `sentencepiece.SentencePieceProcessor`."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


class WordAssembler:
    """Takes tokens one step at a time and returns each word when the next boundary closes it.

    A word after a boundary at step `i` starts at `(i + 1) / frame_rate - lag` seconds, `lag` being
    what lies before the audio and by how much the text follows it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        frame_rate: float,
        lag: float,
        *,
        padding: int,
        boundary: int,
    ) -> None:
        self._tokenizer, self._frame_rate, self._lag = tokenizer, frame_rate, lag
        self._padding, self._boundary = padding, boundary
        self._step = self._first = 0
        self._start: int | None = None
        self._tokens: list[int] = []

    def skip(self, first: int, seconds: float) -> None:
        """Leaves out words that start before step `first`; times count from `seconds` later."""
        self._first = first
        self._lag += seconds

    def push(self, token: int) -> list[Word]:
        """The words that `token` completes."""
        words: list[Word] = []
        if token == self._boundary:
            words = self._close(self._step)
            self._start, self._tokens = self._step + 1, []
        elif self._start is not None:
            self._tokens.append(token)
        self._step += 1
        return words

    def flush(self) -> list[Word]:
        """The words after the last boundary."""
        if self._start is None:
            return []
        if EOS in self._tokens:
            end: float = self._start + self._tokens.index(EOS)
            self._tokens = self._tokens[: self._tokens.index(EOS)]
        else:
            end = min(self._step, self._start + self._frame_rate)
        words = self._close(end)
        self._start = None
        return words

    @property
    def open_start(self) -> float | None:
        """Start in seconds of the word that is being heard, once a token of it is there."""
        if self._start is None or not any(token > self._padding for token in self._tokens):
            return None
        return self._seconds(self._start)

    @property
    def partial(self) -> str:
        """The text since the last boundary."""
        return self._spoken() if self._start is not None and self._start >= self._first else ""

    def _spoken(self) -> str:
        spoken = [token for token in self._tokens if token > self._padding]
        return self._tokenizer.decode(spoken) if spoken else ""

    def _close(self, end: float) -> list[Word]:
        if self._start is None or self._start < self._first:
            return []
        texts = self._spoken().split()
        words, start = [], self._start
        for text in texts[:-1]:
            length = len(self._tokenizer.encode(text))
            words.append(self._word(text, start, start + length))
            start += length
        if texts:
            words.append(self._word(texts[-1], start, end))
        return words

    def _word(self, text: str, start: float, end: float) -> Word:
        return Word(text, self._seconds(start), self._seconds(end))

    def _seconds(self, step: float) -> float:
        return max(0.0, step / self._frame_rate - self._lag)

    def save(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "first": self._first,
            "start": self._start,
            "tokens": list(self._tokens),
            "lag": self._lag,
        }

    def load(self, saved: dict[str, Any]) -> None:
        self._step, self._first = saved["step"], saved["first"]
        self._start, self._tokens = saved["start"], list(saved["tokens"])
        self._lag = saved["lag"]
