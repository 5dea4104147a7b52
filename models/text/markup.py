"""Markdown, emoji and the tags of SSML, taken out of a text that is to be spoken."""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...runtime.errors import UsageError
from .languages import LANGUAGES, LanguageName

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from .verbalizer import Verbalizer

LONGEST_TAG = 300
"""Characters of a tag; longer ones are text."""
STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.25,
    "weak": 0.5,
    "medium": 0.75,
    "strong": 1.0,
    "x-strong": 1.25,
}
"""Seconds of a break by its strength, as Azure has them (SSML 1.1 leaves them open)."""
PARAGRAPH_SECONDS = 0.75
DROPPED_KEPT = 8

TAG = re.compile(rf"</?[A-Za-z][\w:-]{{0,40}}(?:\s[^<>]{{0,{LONGEST_TAG}}})?/?>")
_ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_SPEAK = re.compile(r"\s*(?:<\?xml\b[^>]*>\s*)?(?:<!DOCTYPE|<speak\b)")
_BEGINNINGS = ("<speak", "<?xml", "<!DOCTYPE")
_DURATION = re.compile(r"\+?(\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9})\s*(ms|s)")

_LINE_BEGIN = re.compile(
    r"[ \t]*(?:#{1,6}(?=\s)|(?:>[ \t]?)+|[-*+•](?=\s)(?:\s\[[ xX]\](?=\s))?)[ \t]*"
)
_RULE = re.compile(
    r"(?<!\S)(?:[-*_]{3,}|={3,}|`{3,}\w*|~{3,}\w*|:?-{3,}:?|\|(?:[:\s|-]*\|)?)(?!\S)"
)
_LINK_END = re.compile(r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)|\]\[[^\]\s]*\]")
_MARKS = re.compile(
    r"(?<!\w)[*_~]{1,3}(?=\S)|(?<=\S)[*_~]{1,3}(?!\w)|`+|!\[|[\[\]]|\\(?=[*_`#\[\]~])"
)
_KEPT_SYMBOLS = "°©®™№℃℉"
_JOINERS = "\u200b\u200d\u2060\ufe0e\ufe0f\u20e3\ufeff\u00ad"


def strip_markdown(text: str, *, begins_line: bool) -> str:
    """Take the marks of Markdown out of a piece of text; its words stay."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if index or begins_line:
            line = line[match.end() :] if (match := _LINE_BEGIN.match(line)) else line
        lines[index] = _MARKS.sub("", _LINK_END.sub("", _RULE.sub("", line)))
    return "\n".join(lines)


def strip_emoji(text: str) -> str:
    """Take emoji and other pictures out of a text."""
    return text if text.isascii() else "".join(char for char in text if not _is_picture(char))


def _is_picture(char: str) -> bool:
    code = ord(char)
    if code < 0xA9 or char in _KEPT_SYMBOLS:
        return False
    if char in _JOINERS or 0x1F000 <= code <= 0x1FAFF or 0xE0000 <= code <= 0xE007F:
        return True
    return unicodedata.category(char) == "So"


def pause(seconds: float) -> str:
    """Write a pause in Kyutai's syntax."""
    return f' <break time="{seconds:.3f}s"/> ' if seconds > 0 else " "


def is_document(text: str) -> bool | None:
    """Return whether a text is a document of SSML; None if more of it must come to decide."""
    begun = text.lstrip()
    if not begun:
        return None
    if _SPEAK.match(text):
        return True
    unclear = any(begun.startswith(mark) or mark.startswith(begun) for mark in _BEGINNINGS)
    return None if unclear else False


@dataclass
class Ssml:
    """Reads SSML, of documents and of tags in a text; `dropped` are names of unsupported tags."""

    dropped: list[str] = field(default_factory=list)

    def tag(self, text: str) -> str:
        """Return what a tag in a text becomes: a pause, a space, or nothing for unknown ones."""
        name = re.split(r"[\s/>]", text.strip("</"), maxsplit=1)[0].lower()
        attributes = {key: double or single for key, double, single in _ATTRIBUTE.findall(text)}
        if name == "break":
            return pause(break_seconds(attributes))
        if name == "p" and text.startswith("</"):
            return pause(PARAGRAPH_SECONDS)
        if name in ("p", "s", "br", "speak", "say-as"):
            return " "
        self._drop(name)
        return ""

    def document(self, text: str) -> "list[SsmlPiece]":
        """Parse a document.

        Raises UsageError if it is not well-formed, and for a DOCTYPE: entities are not expanded.
        """
        from xml.etree.ElementTree import ParseError

        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import fromstring

        try:
            root = fromstring(text.strip(), forbid_dtd=True)
        except DefusedXmlException:
            raise UsageError(
                "the SSML declares a document type, which is not allowed; leave the DOCTYPE out"
            ) from None
        except (ParseError, ValueError) as error:
            raise UsageError(f"the text is not valid SSML ({error}); mend it") from None
        return list(self._pieces(root, None))

    def _pieces(self, root: "Element", language: LanguageName | None) -> "list[SsmlPiece]":
        """Walk the tree without recursion: it may be deep."""
        pieces: list[SsmlPiece] = []
        todo: list[tuple[str, Element | str, LanguageName | None]] = [("open", root, language)]
        while todo:
            kind, item, spoken = todo.pop()
            if isinstance(item, str):
                pieces.append(SsmlPiece(item, spoken))
                continue
            name = item.tag.rpartition("}")[2].lower() if isinstance(item.tag, str) else "!"
            spoken = _language(item) or spoken
            if kind == "close":
                if name in ("p", "s"):
                    pieces.append(SsmlPiece(pause(PARAGRAPH_SECONDS if name == "p" else 0)))
                continue
            if name == "break":
                pieces.append(SsmlPiece(pause(break_seconds(dict(item.attrib)))))
            elif name == "say-as":
                whole = "".join(item.itertext())
                said = item.get("interpret-as", ""), item.get("format", "")
                pieces.append(SsmlPiece(whole, spoken, said))
                continue
            elif name not in ("speak", "p", "s"):
                self._drop(name)
            todo.append(("close", item, spoken))
            for child in reversed(item):
                todo += [("text", child.tail or "", spoken), ("open", child, spoken)]
            todo.append(("text", item.text or "", spoken))
        return pieces

    def _drop(self, name: str) -> None:
        if name not in self.dropped and len(self.dropped) < DROPPED_KEPT:
            self.dropped.append(name)


@dataclass(frozen=True)
class SsmlPiece:
    """A piece of a document: its text, the language if one is given, and for `say-as` what it is
    to be read as, and the format."""

    text: str
    language: LanguageName | None = None
    say_as: tuple[str, str] | None = None


def _language(element: "Element") -> LanguageName | None:
    given = element.get("{http://www.w3.org/XML/1998/namespace}lang", "")[:2].lower()
    return next((name for name in LANGUAGES if name == given), None)


def break_seconds(attributes: dict[str, str]) -> float:
    """Return the seconds of a break from its attributes.

    Raises UsageError for a time or a strength that is invalid.
    """
    time = attributes.get("time")
    if time is None:
        strength = attributes.get("strength", "medium")
        if strength not in STRENGTHS:
            raise UsageError(f"a break of strength {strength[:40]!r}: use {', '.join(STRENGTHS)}")
        return STRENGTHS[strength]
    found = _DURATION.fullmatch(time.strip())
    if found is None:
        raise UsageError(
            f"a break of {time[:40]!r}: give seconds or milliseconds, as 0.5s or 500ms"
        )
    return float(found[1].replace(",", ".")) / (1000 if found[2] == "ms" else 1)


def say_as(text: str, kind: str, form: str, verbalizer: "Verbalizer") -> str:
    """Read a text as `say-as` asks for; an unknown kind is read as plain text is."""
    text = text.strip()
    digits = re.sub(r"\D", "", text)
    match kind:
        case "characters" | "spell-out" | "verbatim":
            return verbalizer.spelled(text)
        case "digits" | "telephone":
            return verbalizer.spelled(digits) if digits else text
        case "ordinal" if digits:
            return verbalizer.ordinal(digits)
        case "date" if form:
            return verbalizer.date(text, form.replace("y" * 4, "y").replace("yy", "y"))
    return verbalizer.read(text)
