"""What a disk refuses to take, as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.errors import KyutaiOnnxError


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Raises KyutaiOnnxError about `path` for what the system refuses meanwhile."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KyutaiOnnxError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another place"
        ) from None
