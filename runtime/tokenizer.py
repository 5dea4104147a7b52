"""The text tokenizer of a bundle, a SentencePiece model."""

from pathlib import Path
from typing import Protocol

import sentencepiece

from .errors import ModelError


class Tokenizer(Protocol):
    """What is used of `sentencepiece.SentencePieceProcessor`."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...
    def get_piece_size(self) -> int: ...
    def id_to_piece(self, id: int) -> str: ...  # noqa: A002
    def is_byte(self, id: int) -> bool: ...  # noqa: A002
    def is_control(self, id: int) -> bool: ...  # noqa: A002
    def unk_id(self) -> int: ...


def open_tokenizer(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Open a tokenizer; raises ModelError if the file is not a SentencePiece model."""
    try:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))
        tokenizer.id_to_piece(list(range(tokenizer.get_piece_size())))  # all of them are text
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        cause = str(error).splitlines()[0]
        raise ModelError(f"{path}: not a SentencePiece model ({cause})") from None
    return tokenizer
