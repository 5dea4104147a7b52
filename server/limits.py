"""The limits of a server: how much a client may take, and for how long."""

from dataclasses import dataclass, fields

from ..runtime.errors import UsageError

MAY_BE_ZERO = ("queue", "wait", "stream_wait")


@dataclass(frozen=True)
class Limits:
    """One set of limits for the engines, the protocols and the decoders. Times are in seconds; None
    is no limit.

    Sessions: `queue` clients of one model wait for a slot, each for at most `wait`; a websocket of
    moshi-server's protocol, which is refused at once, for `stream_wait`. A session ends after
    `idle` without anything to do, after `session` in all, and when its client reads nothing for
    `stall`. A client that is `backlog` seconds of audio, or words, ahead of the model is not read.
    One message of audio holds at most `message_seconds`, one of text `message_words`.

    Connections: a websocket that sends nothing, not even an answer to a ping, is closed after
    `silence`. A connection makes a request within `request`. A posted body has at most `body` bytes
    and keeps a least rate in any `request` seconds. A websocket's message has at most `message`
    bytes, posted audio at most `audio` seconds, a text to speak `characters`. `connections` are
    kept open, `uploads` recordings are decoded at once, and the bodies of all take `spooled` bytes
    of disk.

    Callers: of one key, or without keys of one address, `sessions` run at once and `rate` requests
    a minute are answered; `wrong_keys` a minute are answered of one address.
    """

    queue: int = 8
    wait: float = 60.0
    stream_wait: float = 0.0
    idle: float = 300.0
    session: float | None = 6 * 3600.0
    stall: float = 30.0
    backlog: float = 600.0
    message_seconds: float = 600.0
    message_words: int = 10_000
    silence: float = 20.0
    request: float = 20.0
    audio: float = 2 * 3600.0
    body: int = 64 << 20
    message: int = 8 << 20
    characters: int = 100_000
    uploads: int = 16
    spooled: int = 4 << 30
    connections: int = 512
    sessions: int | None = None
    rate: int | None = None
    wrong_keys: int | None = 60

    def check(self) -> None:
        """Raise UsageError for a limit that nothing could keep."""
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            may_be_zero = name in MAY_BE_ZERO
            if value is not None and not (value > 0 or (may_be_zero and value == 0)):
                least = "0 or more" if may_be_zero else "more than 0"
                raise UsageError(f"the limit {name} is {value}: give {least}")
