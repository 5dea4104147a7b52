"""Text as people write it, turned into the script that a text-to-speech model reads.

Figures become words, Markdown and emoji are left out, SSML becomes pauses in Kyutai's syntax
(`<break time="0.5s"/>`). Text may come in pieces of any size: the result is the same.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Protocol

from ..stream_state import Flag, Nullable, Record, String
from .languages import LANGUAGE_NAMES, LANGUAGES, LanguageName, language_of
from .markup import (
    LONGEST_TAG,
    TAG,
    Ssml,
    is_document,
    pause,
    say_as,
    strip_emoji,
    strip_markdown,
)
from .verbalizer import Verbalizer

LONGEST_SEGMENT = 400
"""Characters after which whitespace ends a segment, whatever may belong together."""
LONGEST_DOCUMENT = 1 << 17
SENTENCE_SECONDS = 0.4
"""The pause after a sentence for a model that cannot read the mark at its end."""
LEFT_OUT_KEPT = 8
_AFTER_FIGURES, _AFTER_MONTH, _UNDECIDED = 3, 1, 12
"""Words that may belong to the figures, or to the month, before them; and words that are awaited
to find the language of a text that begins with figures."""

_BINDING = re.compile(r"[0-9$€£¥₹½¼¾⅓⅔]|^[-+#№]|^[nN]°|\]\(")
_PLAIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ'’,.!?;: \n]*")
_SENTENCE_END = re.compile(r"[.!?…:;][\"'»”’)*_\]]*$")
_WORD = re.compile(r"\S+\s+")
_BREAK = re.compile(r"(<break time=\"[0-9.]+s\"/>)")
_MONTHS = frozenset(
    name.lower()[:size]
    for language in LANGUAGES.values()
    for name in language.months
    for size in ((3, 99) if language.name == "en" else (99,))
)


class Spelling(Protocol):
    """What is used of `sentencepiece.SentencePieceProcessor`."""

    def encode(self, text: str) -> list[int]: ...
    def unk_id(self) -> int: ...


@cache
def _verbalizer(name: LanguageName) -> Verbalizer:
    return Verbalizer(name)


class TextNormalizer:
    """Normalizes one text. `language` is found from the text unless given. With the `spelling` of
    a model, what it cannot spell is put in letters that it can, or left out."""

    def __init__(
        self, *, language: LanguageName | None = None, spelling: Spelling | None = None
    ) -> None:
        self.left_out: list[str] = []
        """The first words that the model cannot spell."""
        self._language, self._spelling = language, spelling
        self._ssml = Ssml()
        self._held = ""
        self._searched = 0
        self._found: LanguageName | None = language
        self._begun = self._sentence_ended = False
        self._begins_line = True
        self._previous = ""

    @property
    def dropped_tags(self) -> list[str]:
        """Names of the first tags that are not supported."""
        return self._ssml.dropped

    def feed(self, text: str) -> str:
        """Return the script of what `text` completes.

        Raises UsageError for SSML that is invalid.
        """
        self._held += text.encode("utf-8", "replace").decode()
        return "".join(self._take(final=False))

    def flush(self) -> str:
        """Return the rest, at the end of a text or of a turn; another one may follow."""
        script = "".join(self._take(final=True))
        self._held, self._begun, self._begins_line, self._previous = "", False, True, ""
        return script

    FIELDS: ClassVar = Record(
        {
            "text": String(),
            "language": Nullable(String("|".join(LANGUAGE_NAMES))),
            "begun": Flag(),
            "sentence_ended": Flag(),
            "line_begins": Flag(),
            "previous_word": String(),
        }
    )

    MIDWAY: ClassVar = {
        "text": "",
        "language": None,
        "begun": True,
        "sentence_ended": False,
        "line_begins": False,
        "previous_word": "",
    }
    """The state of one in a text of which nothing waits."""

    def save(self) -> dict[str, Any]:
        """Return its state, as `FIELDS` describes it."""
        return {
            "text": self._held,
            "language": self._found,
            "begun": self._begun,
            "sentence_ended": self._sentence_ended,
            "line_begins": self._begins_line,
            "previous_word": self._previous,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._held, self._begun, self._searched = saved["text"], saved["begun"], 0
        self._found = next((name for name in LANGUAGES if name == saved["language"]), None)
        self._sentence_ended = saved["sentence_ended"]
        self._begins_line, self._previous = saved["line_begins"], saved["previous_word"]

    def _take(self, *, final: bool) -> Iterator[str]:
        """Normalize the segments that are whole; with `final`, all."""
        if not self._begun:
            document = is_document(self._held)
            if document or (document is None and not final):
                yield from self._document(final=final)
                return
        at = 0
        for end in self._segment_ends(final=final):
            yield self._written(self._held[at:end])
            at = end
        self._held = self._held[at:]

    def _document(self, *, final: bool) -> Iterator[str]:
        end = self._held.find("</speak>", max(0, self._searched - len("</speak>")))
        self._searched = len(self._held)
        if end < 0 and not final and len(self._held) <= LONGEST_DOCUMENT:
            return
        end = len(self._held) if end < 0 else end + len("</speak>")
        document, self._held, self._searched = self._held[:end], self._held[end:], 0
        language = self._found
        for piece in self._ssml.document(document):
            self._found = piece.language or language
            if piece.say_as is not None:
                yield self._fitted(say_as(piece.text, *piece.say_as, self._verbalizer_of("")))
            elif _BREAK.search(piece.text):
                self._sentence_ended = False
                yield piece.text
            else:
                yield self._fitted(self._spoken(piece.text))
        self._found, self._begun = language, True
        yield " "
        yield from self._take(final=final)

    def _segment_ends(self, *, final: bool) -> Iterator[int]:
        """Yield where segments end, between which nothing belongs together."""
        text, start, bound, found = self._held, 0, 0, self._found
        at = len(text) - len(text.lstrip())
        while match := _WORD.match(text, at):
            word = match.group().rstrip()
            found = found or language_of(word)
            bound = max(bound - 1, self._binds(word, found))
            at = match.end()
            ended = "\n" in match.group()[len(word) :] or _SENTENCE_END.search(word)
            whole = (bound <= 0 or ended) and not self._is_open(text[start:at])
            if whole or at - start > LONGEST_SEGMENT:
                yield at
                start, bound = at, 0
        if final and start < len(text):
            yield len(text)

    @staticmethod
    def _binds(word: str, language: LanguageName | None) -> int:
        """Return how many of the words after this one may belong to it."""
        if _BINDING.search(word):
            return _UNDECIDED if language is None else _AFTER_FIGURES
        return _AFTER_MONTH if word.strip("*_(.").lower() in _MONTHS else 0

    @staticmethod
    def _is_open(text: str) -> bool:
        """Whether a tag, or what `say-as` holds, has begun and not ended."""
        begun = text.rfind("<")
        if begun >= 0 and ">" not in text[begun:] and len(text) - begun <= LONGEST_TAG:
            return bool(re.match(r"</?[A-Za-z]", text[begun:]))
        return text.count("<say-as") > text.count("</say-as>")

    def _written(self, text: str) -> str:
        """Normalize a segment of text that is not a document."""
        self._begun = self._begun or bool(text.strip())
        parts, at = list[str](), 0
        for tag in TAG.finditer(text):
            if tag.start() < at:
                continue
            parts.append(self._fitted(self._spoken(text[at : tag.start()])))
            at = tag.end()
            if tag.group().startswith("<say-as"):
                end = text.find("</say-as>", at)
                end = len(text) if end < 0 else end
                kind = re.search(r"interpret-as\s*=\s*[\"']([\w-]+)", tag.group())
                form = re.search(r"format\s*=\s*[\"']([\w-]+)", tag.group())
                read = say_as(
                    TAG.sub("", text[at:end]),
                    kind[1] if kind else "",
                    form[1] if form else "",
                    self._verbalizer_of(""),
                )
                parts.append(self._fitted(read))
                at = end
                continue
            parts.append(self._ssml.tag(tag.group()))
            self._sentence_ended &= not _BREAK.search(parts[-1])
        return "".join([*parts, self._fitted(self._spoken(text[at:]))])

    def _spoken(self, text: str) -> str:
        """Normalize text without tags."""
        if not text:
            return ""
        if _PLAIN.fullmatch(text):
            self._begins_line = text.endswith("\n") or (self._begins_line and not text.strip())
            self._previous = text.split()[-1] if text.strip() else self._previous
            if self._language is None:
                self._verbalizer_of(text)
            return text
        plain = strip_emoji(strip_markdown(text, begins_line=self._begins_line))
        self._begins_line = text.rstrip(" \t").endswith("\n") or (
            self._begins_line and not text.strip()
        )
        verbalizer = self._verbalizer_of(plain)
        words = plain.split()
        read = plain if not _needs_words(plain) else verbalizer.read(plain, self._previous)
        self._previous = words[-1] if words else self._previous
        return read

    def _verbalizer_of(self, text: str) -> Verbalizer:
        """Return the reader for the language of a text: that of its last word which is evidence of
        one, or that of the text before."""
        if self._language is None:
            for word in text.split():
                self._found = language_of(word) or self._found
        return _verbalizer(self._language or self._found or "en")

    def _fitted(self, text: str) -> str:
        """Put a text in letters that the model can spell."""
        if self._spelling is None or not text:
            return text
        return re.sub(r"\S+", lambda word: self._spellable(word.group()), text)

    def _spellable(self, word: str) -> str:
        """Return the word in letters that the model can spell, after the pause that is due."""
        forms = (word, *_simpler(word))
        form = next((f for f in forms if f and all(map(self._can_spell, f.split()))), "")
        due = pause(SENTENCE_SECONDS).lstrip() if form and self._sentence_ended else ""
        if form:
            self._sentence_ended = False
        elif any(char.isalnum() for char in word) and len(self.left_out) < LEFT_OUT_KEPT:
            self.left_out.append(word)
        if form != word:
            self._sentence_ended |= bool(_SENTENCE_END.search(word))
        return due + form

    def _can_spell(self, word: str) -> bool:
        assert self._spelling is not None
        return self._spelling.unk_id() not in self._spelling.encode(word)


def _needs_words(text: str) -> bool:
    """Whether a text has figures, signs or an address."""
    return bool(re.search(r"[0-9½¼¾⅓⅔&@]|www\.|https?:", text))


def _simpler(word: str) -> Iterator[str]:
    """Yield a word in ever simpler letters."""
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in word.replace("’", "'"))
    kept = " ".join(part.strip("'") for part in kept.split())
    yield word.lower()
    yield kept
    yield kept.lower()
    plain = unicodedata.normalize("NFKD", kept.lower())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    yield plain
    yield plain.replace("'", "")
