"""Hotwords: phrases whose tokens are preferred while text is chosen.

A token that begins a phrase, or goes on with one, gets the phrase's bonus. Decoding is greedy or
sampled, without beams: what was written of a phrase that is broken off stays, and adds nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.tokenizer import Tokenizer
from ...runtime.typing import Array
from ..options import Range

BONUS = 2.0
"""Of a phrase that has none of its own; in nats for each token."""

BONUSES = Range(0, 20)
MOST_PHRASES = 1000
MOST_CHARACTERS = 100
WORD_MARK = "\u2581"
"""What SentencePiece writes for the space before a word."""


@dataclass(frozen=True)
class Hotword:
    """A phrase of one word or several, and the bonus of each of its tokens, in nats."""

    phrase: str
    bonus: float = BONUS

    def __post_init__(self) -> None:
        if not self.phrase.strip() or len(self.phrase) > MOST_CHARACTERS:
            raise UsageError(
                f"hotword {self.phrase[:20]!r}: give 1 to {MOST_CHARACTERS} characters"
            )
        if not BONUSES.has(self.bonus):
            raise UsageError(f"hotword {self.phrase!r}: its bonus is {BONUSES}")

    @property
    def spellings(self) -> set[str]:
        """The phrase as it stands, and in the capitals that a model may write."""
        phrase = " ".join(self.phrase.split())
        words = phrase.split(" ")
        capitalized = " ".join(word[:1].upper() + word[1:] for word in words)
        first = phrase[:1].upper() + phrase[1:]
        return {phrase, phrase.lower(), phrase.upper(), capitalized, first}


def parse_hotwords(text: str) -> tuple[Hotword, ...]:
    """Read phrases divided by commas or lines, each with its bonus after a colon if it has one.

    Lines that begin with # are comments. Raises UsageError for a bonus that is no number or out of
    range, and for too many phrases.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for item in ",".join(lines).split(","):
        phrase, colon, bonus = item.strip().rpartition(":")
        if not colon:
            phrase, bonus = bonus, str(BONUS)
        if not phrase and not colon:
            continue
        try:
            number = float(bonus)
        except ValueError:
            raise UsageError(f"hotword {item.strip()[:40]!r}: {bonus!r} is not a number") from None
        found.append(Hotword(phrase.strip(), number))
    if len(found) > MOST_PHRASES:
        raise UsageError(f"{len(found)} hotwords: give at most {MOST_PHRASES}")
    return tuple(found)


class _Node:
    """A place in the tree: where tokens lead, and what each of them adds."""

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.bonuses: dict[int, float] = {}

    @cached_property
    def addition(self) -> tuple[Array, Array]:
        """The tokens int64 `[n]`, and what they add float32 `[n]`."""
        tokens = np.array(list(self.bonuses), np.int64)
        return tokens, np.array(list(self.bonuses.values()), np.float32)


class HotwordTree:
    """The token sequences of phrases, in every spelling, as a tree.

    Raises UsageError for a phrase that the tokenizer cannot spell.
    """

    def __init__(self, hotwords: Iterable[Hotword], tokenizer: Tokenizer) -> None:
        self.root = _Node()
        self._tokenizer = tokenizer
        unknown = tokenizer.unk_id()
        for hotword in hotwords:
            spelled = [tokenizer.encode(spelling) for spelling in sorted(hotword.spellings)]
            known = [tokens for tokens in spelled if unknown not in tokens]
            if not known:
                raise UsageError(
                    f"hotword {hotword.phrase!r} has characters that this model cannot spell"
                )
            for tokens in known:
                self._add(tokens, hotword.bonus)

    def node(self, tokens: Iterable[int]) -> _Node | None:
        """Where tokens lead from the root; None if no phrase begins with them."""
        node: _Node | None = self.root
        for token in tokens:
            node = None if node is None else node.children.get(token)
        return node

    def goes_on_with_word(self, node: _Node) -> bool:
        """Whether what follows a place may be the beginning of another word."""
        pieces = map(self._tokenizer.id_to_piece, node.children)
        return any(piece.startswith(WORD_MARK) for piece in pieces)

    def _add(self, tokens: Sequence[int], bonus: float) -> None:
        node = self.root
        for token in tokens:
            node.bonuses[token] = max(bonus, node.bonuses.get(token, bonus))
            node = node.children.setdefault(token, _Node())


class HotwordBias:
    """What one stream has written of a hotword, and what that adds to the scores of its next token.

    If the model would write no text, it writes none: a bonus never wins against silence. A
    phrase that is broken off adds nothing any more.
    """

    def __init__(self, tree: HotwordTree, silent: Iterable[int], boundary: int) -> None:
        self._tree, self._silent, self._boundary = tree, frozenset(silent), boundary
        self._node = tree.root
        self.written: list[int] = []
        """The tokens of the phrase that is not completed yet."""

    def continue_from(self, written: Sequence[int]) -> None:
        """Go on with a phrase of which so much is written, if it is one of these."""
        node = self._tree.node(written)
        self.written, self._node = list(written), node or self._tree.root
        if node is None:
            self.written = []

    def bias(self, scores: Array) -> Array:
        """Return scores float32 `[text_card]` with the bonuses."""
        if int(scores.argmax()) in self._silent:
            return scores
        biased = scores.copy()
        for node in (self._tree.root, self._node):
            tokens, bonuses = node.addition
            biased[tokens] = scores[tokens] + bonuses
        return biased

    def take(self, token: int) -> None:
        """Go on after the token that was chosen."""
        if token == self._boundary:
            if not self._tree.goes_on_with_word(self._node):
                self.continue_from(())
        elif token not in self._silent:
            begun = self._node if token in self._node.children else self._tree.root
            written = [*(self.written if begun is self._node else ()), token]
            self.continue_from(written)
