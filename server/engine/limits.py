"""How much a session may take."""

from dataclasses import dataclass, fields

from ...runtime.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What one engine allows; times in seconds, `math.inf` for no limit. UsageError for a value
    that is none.

    `queue` is how many sessions may wait for a slot, `wait` for how long at most. `idle` is how
    long a session may bring nothing while there is nothing to do, `session` its whole length,
    `stall` how long its client may leave unread what it is sent. `backlog` is the audio, or the
    words of text to speech, that may wait to be heard: above it an adapter stops to read. A message
    holds at most `message_seconds` of audio, or `message_words`.
    """

    queue: int = 64
    wait: float = 100.0
    idle: float = 300.0
    session: float = 4 * 3600.0
    stall: float = 30.0
    backlog: float = 120.0
    message_seconds: float = 600.0
    message_words: int = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_none = field.name in ("queue", "wait")
            if not (value > 0 or (may_be_none and value == 0)):
                raise UsageError(
                    f"the limit {field.name} is {value}: give "
                    f"{'0 or more' if may_be_none else 'more than 0'}"
                )
