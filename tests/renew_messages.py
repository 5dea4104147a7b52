"""Rewrites `tests/unit/messages.snapshot` after a change of help or messages: read its diff."""

from support.sentences import SNAPSHOT, rendered

if __name__ == "__main__":
    SNAPSHOT.write_text(rendered(), "utf-8")
