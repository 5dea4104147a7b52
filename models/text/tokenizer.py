"""The text tokenizer of a bundle, a SentencePiece model."""

from pathlib import Path

import sentencepiece

from ...runtime.errors import ModelError


def open_tokenizer(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Raises ModelError where the file is not a SentencePiece model."""
    try:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))
        tokenizer.id_to_piece(list(range(tokenizer.get_piece_size())))  # all of them are text
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        cause = str(error).splitlines()[0]
        raise ModelError(f"{path}: not a SentencePiece model ({cause})") from None
    return tokenizer
