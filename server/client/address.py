"""Where a server is."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ...runtime.errors import UsageError
from ..web.auth import HEADER

SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True)
class Address:
    """The URL of a server, http or https without a slash at its end, and the key that opens it."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What a request shows."""
        return {HEADER: self.key} if self.key is not None else {}


def parse_address(url: str, key: str | None = None) -> Address:
    """The address that a user means by a URL of http, https, ws or wss, or by `host:port`.

    Raises UsageError for what is none, and for a key that cannot be sent.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        found = parts.hostname and SCHEMES.get(parts.scheme), parts.port
    except ValueError:
        found = None, None
    if not found[0] or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--server {url}: give a URL such as http://127.0.0.1:8998")
    if key is not None and not (key.isascii() and key.isprintable() and key):
        raise UsageError("--api-key: a key is of printable ASCII")
    return Address(f"{found[0]}://{parts.netloc}{parts.path.rstrip('/')}", key)
