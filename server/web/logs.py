"""The server's log: one line an event, for people or as JSON. It never has keys, audio or text."""

import datetime as dt
import json
import logging
import sys
import time
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

LOG = logging.getLogger("kyutai_onnx.server")
_FIELDS = "fields"
INFO = logging.INFO, "INFO"


def log(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event with its fields."""
    LOG.log(level, event, extra={_FIELDS: fields})


class ThrottledLog:
    """An event that clients can cause at any rate: logged once in `seconds`, with how often it
    happened since the last time."""

    def __init__(self, event: str, seconds: float = 10.0) -> None:
        self._event, self._seconds = event, seconds
        self._next, self._times = 0.0, 0

    def log(self, **fields: Any) -> None:
        """Log the event, or count it."""
        self._times += 1
        if time.monotonic() >= self._next:
            log(self._event, **fields, times=self._times)
            self._next, self._times = time.monotonic() + self._seconds, 0


class TextFormatter(logging.Formatter):
    """`time event name=value ...`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_shown(value)}" for name, value in _fields(record).items())
        said = f"{_time(record)} {record.levelname.lower()} {record.getMessage()} {fields}"
        return _with_traceback(said.rstrip(), record)


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `event`, the `instance` and the fields."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "instance": self._instance,
            **_fields(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class InvalidRequestFilter(logging.Filter):
    """Log invalid HTTP without its text, which may hold a key and would fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info, record.args = None, ()
            record.msg, record.levelno, record.levelname = "request misunderstood", *INFO
            setattr(record, _FIELDS, {"why": type(error).__name__})
        return record.levelno >= LOG.level


def open_log(*, instance: str | None, quiet: bool = False, debug: bool = False) -> None:
    """Send the log to standard error, as JSON with the name of an `instance` or as text; `quiet`
    leaves warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if instance is None else JsonFormatter(instance))
    handler.addFilter(InvalidRequestFilter())
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    levels = {
        LOG.name: level,
        "aiohttp": logging.WARNING,
        "aiohttp.websocket": logging.ERROR,  # its warning quotes protocols, which may hold a key
    }
    for name, lowest in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(lowest)


def _time(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, _FIELDS, {})
    return fields


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text.isprintable() else text


def _with_traceback(said: str, record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return said
    return f"{said}\n{logging.Formatter().formatException(record.exc_info)}"
