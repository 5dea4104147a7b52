"""Text to speech as Kyutai's `TTSModel.generate` hooks it into `LMGen`, row by row."""

import importlib
import sys
from collections import deque
from types import ModuleType
from typing import Any

import numpy as np
import sentencepiece

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint

Array = np.ndarray[Any, Any]
RATE = 12.5
ZERO = -1


def kyutai_tts() -> Any:
    """The module `moshi.models.tts`; it reads no audio file here, for which it imports sphn."""
    sys.modules.setdefault("sphn", ModuleType("sphn"))
    return importlib.import_module("moshi.models.tts")


def made_up_script(tokenizer: Any, words: int, seed: int) -> str:
    """Words of the tokenizer's own pieces, and a break now and then."""
    noise = np.random.default_rng(seed)
    pieces = [tokenizer.id_to_piece(index).strip("▁") for index in range(4, len(tokenizer))]
    pieces = [piece for piece in pieces if piece]
    made = []
    for index in range(words):
        made.append("".join(noise.choice(pieces, noise.integers(1, 4))))
        if index % 17 == 9:
            made.append('<break time="0.4s"/>')
    return " ".join(made)


class Speakers:
    """The state machines of all rows, and the speech that each row begins with."""

    def __init__(self, checkpoint: Checkpoint, prefixes: list[Array] | None = None) -> None:
        self._tts, config = kyutai_tts(), checkpoint.config
        assert config.lm is not None
        self._delays = list(config.lm.delays[1:])
        self.delay_steps = int(config.tts.audio_delay * RATE)
        self._ids = self._tts.TokenIds(config.lm.text_card + 1)
        self._machine = self._tts.StateMachine(
            self._ids, config.tts.second_stream_ahead, max_padding=8, initial_padding=2
        )
        self._tokenizer = sentencepiece.SentencePieceProcessor(str(checkpoint.tokenizer))
        self._prefixes = prefixes
        self._states: dict[int, Any] = {}
        self._text: dict[int, deque[int]] = {}
        self._offsets: dict[int, int] = {}
        self._active: Array = np.empty(0, np.bool_)

    def begin(self, row: int) -> None:
        """Gives a row a script; that of row 2 ends soon."""
        script = made_up_script(self._tokenizer, 5 if row == 2 else 80, seed=row)
        entries = self._tts.script_to_entries(
            self._tokenizer, self._ids, RATE, [script], multi_speaker=row % 2 == 0
        )
        self._states[row] = self._machine.new_state(entries)
        length = 0 if self._prefixes is None else self._prefixes[row].shape[1]
        self._text[row] = deque([ZERO] * length)
        self._offsets[row] = 0

    def step(self, active: Array) -> Array:
        """Which rows step; returns those that speak by now."""
        self._active = active
        late = [self._offsets.get(row, 0) >= self.delay_steps for row in range(len(active))]
        return active & late

    def on_text(self, tokens: Array) -> Array:
        for row in np.flatnonzero(self._active):
            state, offset = self._states[row], self._offsets[row]
            if self._text[row]:
                tokens[row] = self._text[row].popleft()
            else:
                tokens[row], _ = self._machine.process(offset, state, int(tokens[row]))
        return tokens

    def on_audio(self, codes: Array) -> Array:
        """Silence before the speech begins, and then the prefix, in every codebook's own time."""
        for row in np.flatnonzero(self._active):
            for codebook in range(codes.shape[1]):
                time = self._offsets[row] - self.delay_steps - self._delays[codebook]
                if time < 0:
                    codes[row, codebook] = ZERO
                elif self._prefixes is not None and time < self._prefixes[row].shape[1]:
                    codes[row, codebook] = self._prefixes[row][codebook, time]
            self._offsets[row] += 1
        return codes
