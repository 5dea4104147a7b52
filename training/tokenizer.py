"""The text tokenizer: a small byte-pair vocabulary in which most words of the domain are one piece.

Run: `python -m training.tokenizer --work DIR`
"""

import argparse
from pathlib import Path
from random import Random

import sentencepiece

from training import grammar
from training.config import TEXT_CARD, TEXT_PAD

SEED = 5
NAME = f"tokenizer_en_demo_{TEXT_CARD}.model"


def vocabulary(count: int = 20_000) -> list[str]:
    """Every word the grammar says."""
    rng = Random(SEED)
    return sorted({word for _ in range(count) for word in grammar.sentence(rng)})


def texts(rng: Random) -> list[str]:
    """Sentences of the grammar, and lists of its words so that rare ones count too."""
    words = vocabulary()
    lists = [" ".join(rng.sample(words, 10)) for _ in range(3_000)]
    return lists + [" ".join(grammar.sentence(rng)) for _ in range(2_000)]


def train(work: Path) -> None:
    # "identity": the usual normalisation would add 240 kB of tables to the model.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts(Random(SEED))),
        model_prefix=str((work / NAME).with_suffix("")),
        vocab_size=TEXT_CARD,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=TEXT_PAD,
        model_type="bpe",
        character_coverage=1.0,
        normalization_rule_name="identity",
        hard_vocab_limit=True,
        num_threads=1,
        minloglevel=1,
    )


def load(work: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(str(work / NAME))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    train(parser.parse_args().work)
