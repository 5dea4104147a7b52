"""Every error that a user can meet: one line that names the cause and the next step.

KyutaiOnnxError                 exit 1
├── StandardOutputError         exit 1   standard output that takes nothing
├── UsageError                  exit 2   the request cannot be met as it was made
├── ModelError                  exit 3   a bundle or checkpoint missing, gated or damaged
├── AudioError                  exit 4   an audio file or device
├── ProviderError               exit 5   an execution provider that is not there
└── QualityError                exit 6   a quality gate that was not passed
"""

LONGEST_LINE = 800
"""Characters of a message; of a longer one the middle is left out."""


class KyutaiOnnxError(Exception):
    """Root of the errors meant for a user; `exit_code` is what the command line returns.

    A message may quote what a file, a client or a server sent: a long one is shortened, and
    characters that cannot be printed are escaped.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        if len(message) > LONGEST_LINE:
            half = LONGEST_LINE // 2
            message = f"{message[:half]} […] {message[-half:]}"
        if not message.isprintable():
            message = "".join(one if one.isprintable() else escaped(one) for one in message)
        super().__init__(message)


def escaped(character: str) -> str:
    """A character as a literal of Python has it, such as `\\n`."""
    return character.encode("unicode_escape").decode("ascii")


class StandardOutputError(KyutaiOnnxError):
    """Standard output that is closed, or whose disk is full; nothing more can be printed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"standard output cannot be written ({reason}); redirect it elsewhere")


class UsageError(KyutaiOnnxError, ValueError):
    """The request itself cannot be met: a value out of range, a feature this model lacks."""

    exit_code = 2


class ModelError(KyutaiOnnxError):
    """A bundle, checkpoint or repository that is missing, gated, damaged or of another kind."""

    exit_code = 3


class AudioError(KyutaiOnnxError):
    """An audio file or device that cannot be read or written."""

    exit_code = 4


class ProviderError(KyutaiOnnxError):
    """An execution provider that is not installed, did not open, or does not fit the bundle."""

    exit_code = 5


class QualityError(KyutaiOnnxError):
    """A model that did not pass its quality gate."""

    exit_code = 6
