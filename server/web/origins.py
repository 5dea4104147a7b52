"""Pages of other sites: none of them may use the server unless it was said.

A browser lets any page open websockets and post forms anywhere, which would hand a server on this
machine to every page that its user looks at.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ..config import is_loopback

ANY = "*"
METHODS = "GET, POST, OPTIONS"
HEADERS = "authorization, content-type, kyutai-api-key"


def host_name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    return urlsplit(f"//{host}").hostname or ""


class Origins:
    """The sites whose pages may use the server besides its own, `*` being any. A server without
    keys, `local`, answers only to this machine's own names, so that no name of another site that
    leads here makes its pages the server's own."""

    def __init__(self, allowed: Sequence[str], *, local: bool) -> None:
        self._allowed, self._local = set(allowed), local

    def refuses(self, headers: Mapping[str, str], *, any_name: bool = False) -> str | None:
        """Why a request is refused, if it is. With `any_name` the server's name does not matter."""
        host = headers.get("Host", "")
        if self._local and not any_name and not is_loopback(_safe_host_name(host)):
            return (
                "this server has no keys, so it answers only under the names of its own machine, "
                "such as localhost; give it '--api-key' or '--no-auth'"
            )
        origin = headers.get("Origin")
        if origin is None or self.allows(origin) or _is_same(origin, host):
            return None
        return "pages of other sites may not use this server unless '--cors' names them"

    def allows(self, origin: str) -> bool:
        """Whether a site was named."""
        return ANY in self._allowed or origin in self._allowed

    def headers(self, origin: str | None) -> dict[str, str]:
        """What tells a browser that a page of a named site may read the answer."""
        if origin is None or not self.allows(origin):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight(self, origin: str | None) -> dict[str, str]:
        """What tells a browser that such a page may ask at all."""
        found = self.headers(origin)
        more = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return found | more if found else {}


def _is_same(origin: str, host: str) -> bool:
    """Whether a page came from this very host and port. What scheme it came by is not told by a
    proxy that adds TLS, so it is not compared."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def _safe_host_name(host: str) -> str:
    try:
        return host_name(host)
    except ValueError:
        return ""
