"""The pages for users, their blocks of code, and the marks of those that are not run in tests."""

import re
from dataclasses import dataclass
from functools import cached_property

from support.paths import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("training/*.md")]
)
REASONS = {
    "weights": "needs a model that is not in this repository",
    "network": "downloads",
    "hardware": "needs a sound card, a screen or a GPU",
    "machine": "is for another machine, or for its system",
    "long": "takes minutes or hours",
}
"""Why a block is not run, as its mark has it."""
_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<mark>.+) -->\n)?^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```\n"
    r"(?P<shown>\n(?: {4}.*\n)+)?",
    re.MULTILINE,
)
_REASON = re.compile(r"(\w+)(?: \(([^()]+)\))?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    The comment `<!-- not run: weights -->` before it says that it is not run, and why;
    `<!-- not run: weights (export, --voice), network (pip) -->` says so of those commands which
    contain one of the texts.
    """

    page: str
    line: int
    language: str
    code: str
    mark: str
    """Empty without one."""
    shown: str
    """The output that the page shows after a block, indented."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @cached_property
    def reasons(self) -> dict[str, list[str]]:
        """Each reason with the texts that it is for; without texts it is for the whole block."""
        found = {}
        for part in re.split(r", (?![^()]*\))", self.mark) if self.mark else []:
            matched = _REASON.fullmatch(part)
            assert matched is not None, f"{self}: a mark that cannot be read: {part}"
            assert matched[1] in REASONS, f"{self}: not one of {', '.join(REASONS)}: {matched[1]}"
            found[matched[1]] = matched[2].split(", ") if matched[2] else []
        return found

    @property
    def is_marked(self) -> bool:
        """Whether no part of it is run."""
        return any(not texts for texts in self.reasons.values())

    @property
    def marked_texts(self) -> list[str]:
        return [text for texts in self.reasons.values() for text in texts]

    @cached_property
    def commands(self) -> list[str]:
        """The lines of a shell block without marked commands; those joined by `&&` are marked each
        for itself."""
        lines = [line for line in self.code.splitlines() if line and not line.startswith("#")]
        kept = []
        for line in lines:
            parts = [p for p in line.split(" && ") if not any(t in p for t in self.marked_texts)]
            kept += [" && ".join(parts)] if parts else []
        return [] if self.is_marked else kept


def _blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["code"].replace("\\\n", ""),
            found["mark"] or "",
            re.sub(r"^ {4}", "", found["shown"] or "", flags=re.MULTILINE).lstrip("\n"),
        )
        for found in _FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in _blocks(page)]
