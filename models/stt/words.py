"""Words and their times from text tokens.

The rule is that of `tokens_to_timestamped_text` in Kyutai's delayed-streams-modeling
(scripts/stt_from_file_pytorch.py): a boundary token stands before each word; what lies between two
boundaries is a word, or several without a boundary between them; after the last one a
word ends where the stream does, or a second later, and no text is lost there (the script, whose
frame rate is no whole number, fails on a second that is cut).
"""

import math
from typing import Any

from ...runtime.tokenizer import Tokenizer
from ..events import Word, WordStarted, to_millisecond
from ..stream_state import Integer, List, Nullable, Number, Record, Since, String

EOS = 2


class WordAssembler:
    """Takes tokens one step at a time and returns each word when the next boundary closes it.

    A word after a boundary at step `i` starts at `(i + 1) / frame_rate - lag` seconds, `lag` being
    what lies before the audio and by how much the text follows it. Paddings are not kept, so that
    silence costs nothing however long it is.

    With `live`, text is also reported as `WordStarted`, once a padding or a boundary follows it;
    words without a boundary between them are reported together.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        frame_rate: float,
        lag: float,
        *,
        padding: int,
        boundary: int,
        live: bool = False,
    ) -> None:
        self._tokenizer, self._frame_rate, self._lag = tokenizer, frame_rate, lag
        self._padding, self._boundary = padding, boundary
        self._step = self._first = 0
        self._earliest = 0.0
        self._start: int | None = None
        self._tokens: list[int] = []
        self._logs: list[float | None] = []
        """The log probability of each of these tokens."""
        self._eos: list[int] | None = None
        self._live, self._reported = live, ""

    def skip(self, first: int, seconds: float) -> None:
        """Leave out words that start before step `first`; times count from `seconds` later."""
        self._first = first
        self._lag += seconds

    def start_clock_at(self, seconds: float) -> None:
        """Count times from so many seconds on, for a model that starts there."""
        self._earliest = seconds
        self._lag -= seconds

    def shift_clock(self, seconds: float) -> None:
        """Take so many seconds off the clock, in which no audio was read."""
        self._lag += seconds

    def push(self, token: int, log_probability: float | None = None) -> list[Word | WordStarted]:
        """Return the words that `token` completes; its probability counts if it is text."""
        events: list[Word | WordStarted] = []
        if token == self._boundary:
            events += self._close(self._step)
            self._start, self._tokens, self._logs, self._eos = self._step + 1, [], [], None
        elif self._start is not None:
            self._take(token, log_probability)
            if token == self._padding and self._eos is None:
                events += self._report()
        self._step += 1
        return events

    def flush(self) -> list[Word | WordStarted]:
        """Return the words after the last boundary."""
        if self._start is None:
            return []
        end = min(self._step, self._start + self._frame_rate)
        if self._eos is not None:
            end, count = self._eos
            del self._tokens[count:], self._logs[count:]
        words = self._close(end)
        self._start = None
        return words

    @property
    def time(self) -> float:
        """Seconds of the audio up to which words are known."""
        return self._seconds(self._step)

    @property
    def open_start(self) -> float | None:
        """Start in seconds of the open word, once it has a token."""
        if self._start is None or not self._tokens:
            return None
        return self._seconds(self._start)

    @property
    def partial(self) -> str:
        """The text since the last boundary."""
        return self._text() if self._start is not None and self._start >= self._first else ""

    def _take(self, token: int, log_probability: float | None) -> None:
        if token == EOS and self._eos is None:
            self._eos = [self._step, len(self._tokens)]
        if token > self._padding:
            self._tokens.append(token)
            self._logs.append(log_probability)

    def _text(self) -> str:
        return self._tokenizer.decode(self._tokens) if self._tokens else ""

    def _report(self) -> list[WordStarted]:
        """The text since the boundary that was not reported yet."""
        if not self._live or self._start is None or self._start < self._first:
            return []
        spoken = " ".join(self._text().split())
        new, self._reported = spoken.removeprefix(self._reported).strip(), spoken
        if not new:
            return []
        start = to_millisecond(self._seconds(self._start))
        return [WordStarted(new, start, _probability(self._logs))]

    def _close(self, end: float) -> list[Word | WordStarted]:
        if self._start is None or self._start < self._first:
            return []
        words: list[Word | WordStarted] = [*self._report()]
        self._reported = ""
        texts, start = self._text().split(), self._start
        confidences = self._confidences(len(texts))
        for text, confidence in zip(texts[:-1], confidences, strict=False):
            length = len(self._tokenizer.encode(text))
            words.append(self._word(text, start, start + length, confidence))
            start += length
        if texts:
            words.append(self._word(texts[-1], start, max(start, end), confidences[-1]))
        return words

    def _word(self, text: str, start: float, end: float, confidence: float | None) -> Word:
        first, last = (to_millisecond(self._seconds(step)) for step in (start, end))
        return Word(text, first, last, confidence)

    def _confidences(self, count: int) -> list[float | None]:
        """Return the probability of each of the words that the open tokens are."""
        if count < 2:
            return [_probability(self._logs)] * count
        logs: list[list[float | None]] = [[] for _ in range(count)]
        for number, log in enumerate(self._logs, 1):
            begun = len(self._tokenizer.decode(self._tokens[:number]).split())
            logs[max(0, min(begun, count) - 1)].append(log)
        return [_probability(each) for each in logs]

    def _seconds(self, step: float) -> float:
        return max(self._earliest, step / self._frame_rate - self._lag)

    @staticmethod
    def fields(text_card: int) -> Record:
        """What is saved, of a vocabulary of so many tokens."""
        end = Record({"step": Integer(), "tokens": Integer()})
        return Record(
            {
                "step": Integer(),
                "first_step": Integer(),
                "word_step": Nullable(Integer()),
                "word_tokens": List(Integer(0, text_card - 1)),
                "word_log_probabilities": Since(2, List(Nullable(Number())), []),
                "word_end": Nullable(end),
                "reported": String(),
                "lag": Number(),
                "earliest": Number(),
            }
        )

    def save(self) -> dict[str, Any]:
        """Return its state, as `fields` describes it."""
        end = None if self._eos is None else dict(zip(("step", "tokens"), self._eos, strict=True))
        return {
            "step": self._step,
            "first_step": self._first,
            "word_step": self._start,
            "word_tokens": list(self._tokens),
            "word_log_probabilities": list(self._logs),
            "word_end": end,
            "reported": self._reported,
            "lag": self._lag,
            "earliest": self._earliest,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        end = saved["word_end"]
        self._step, self._first = saved["step"], saved["first_step"]
        self._start, self._tokens = saved["word_step"], list(saved["word_tokens"])
        logs: list[float | None] = list(saved["word_log_probabilities"])
        self._logs = logs + [None] * (len(self._tokens) - len(logs))
        self._eos = None if end is None else [end["step"], end["tokens"]]
        self._reported = saved["reported"]
        self._lag, self._earliest = saved["lag"], saved["earliest"]


def _probability(logs: list[float | None]) -> float | None:
    """Return the probability of tokens to a thousandth; None if one is not known."""
    known = [log for log in logs if log is not None]
    return round(math.exp(min(0.0, sum(known))), 3) if known and len(known) == len(logs) else None
