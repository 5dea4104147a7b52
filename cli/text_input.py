"""Text from standard input, in pieces, and lists of texts."""

import queue
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..models.tts.synthesis import NOTHING_TO_SAY, SpeechRequest
from ..runtime.bundle.dataclass_json import parse_json
from ..runtime.errors import KyutaiOnnxError, UsageError
from .files import TextDecoder, decoded

PIECE = 4096
_END = object()


def read_text() -> Iterator[str]:
    """Yield standard input as it comes.

    Raises UsageError if there is no standard input, and as `TextDecoder` does.
    """
    stream = _stdin()
    decoder = TextDecoder("standard input")
    while data := stream.read1(PIECE):  # type: ignore[attr-defined]
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def read_file(name: str) -> str:
    """Return the text of a file, or of standard input for -.

    Raises KyutaiOnnxError if it cannot be read, and as `TextDecoder` does.
    """
    try:
        content = _stdin().read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise KyutaiOnnxError(f"{name}: cannot be read ({error.strerror})") from None
    return decoded(content, name)


def ticking(pieces: Iterator[str], seconds: float) -> Iterator[str]:
    """Yield pieces as they come, and an empty one whenever `seconds` pass without any.

    A thread of its own reads them; its exceptions are raised here.
    """
    read: queue.Queue[object] = queue.Queue(1)

    def fill() -> None:
        try:
            for piece in pieces:
                read.put(piece)
            read.put(_END)
        except BaseException as error:  # raised where the pieces are used
            read.put(error)

    threading.Thread(target=fill, name="pieces", daemon=True).start()
    while True:
        try:
            found = read.get(timeout=seconds)
        except queue.Empty:
            yield ""
            continue
        if found is _END:
            return
        if isinstance(found, BaseException):
            raise found
        yield str(found)


def read_requests(name: str, voices: tuple[str, ...]) -> list[SpeechRequest]:
    """Read a list of texts, one JSON object per line, with the fields of moshi's run_tts.py.

    The fields are `turns`, `voices` and `id`. `text` stands for a single turn; without `voices`
    those given are used. Raises UsageError, with the line, for an invalid one.
    """
    lines = read_file(name).split("\n")
    requests = [
        _request(f"{name}, line {number}", line, voices, number)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not requests:
        raise UsageError(f"{name}: no text in it")
    twice = [text_id for text_id, count in Counter(r.id for r in requests).items() if count > 1]
    if twice:
        raise UsageError(f"{name}: two texts have the id {twice[0]}; give each one its own")
    return requests


def _request(place: str, line: str, voices: tuple[str, ...], number: int) -> SpeechRequest:
    try:
        given = parse_json(line)
    except ValueError as error:
        raise UsageError(f"{place}: not JSON ({error})") from None
    if not isinstance(given, dict):
        raise UsageError(f"{place}: not a JSON object with turns, voices and id")
    unknown = sorted(set(given) - {"turns", "text", "voices", "id"})
    if unknown:
        raise UsageError(f"{place}: {unknown[0]} is unknown; use turns or text, voices and id")
    if ("turns" in given) == ("text" in given):
        raise UsageError(f"{place}: give turns, a list of texts, or one text")
    turns = _texts(place, "turns", given.get("turns", [given.get("text")]))
    if not any(turn.strip() for turn in turns):
        raise UsageError(f"{place}: {NOTHING_TO_SAY}")
    own = _texts(place, "voices", given["voices"]) if "voices" in given else voices
    return SpeechRequest(turns, own, _id(place, given.get("id", str(number))))


def _texts(place: str, field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{place}: {field} is not a list of texts")
    return tuple(value)


def _id(place: str, value: object) -> str:
    """Return an id that is safe as a file name."""
    name = value if isinstance(value, str) else ""
    forbidden = any(c in '/\\:*?"<>|' or ord(c) < 32 for c in name)
    if not name or forbidden or name.startswith(".") or len(name.encode()) > 200:
        raise UsageError(f"{place}: id {str(value)[:40]!r} cannot name a file")
    return name


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("there is no standard input; give TEXT or a file")
    return sys.stdin.buffer
