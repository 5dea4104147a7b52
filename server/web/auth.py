"""Who may use the server: API keys, sessions at once, requests a minute, and pages of other sites.

A browser lets any page open websockets and post forms anywhere, which would open a server on this
machine to every page that its user opens.
"""

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

HEADER = "kyutai-api-key"
QUERY = ("auth_id", "worker_auth_id")
"""The second is the name on Kyutai's own page."""
BEARER = "bearer "
PROTOCOL_HEADER, PROTOCOL_KEY = "Sec-WebSocket-Protocol", "openai-insecure-api-key."
"""Where OpenAI's clients in browsers put the key of a websocket: in the name of a protocol."""
MOST_CALLERS = 10_000
ANY_ORIGIN = "*"
CORS_METHODS = "GET, POST, OPTIONS"
CORS_HEADERS = "*, authorization, content-type, kyutai-api-key"
"""The star stands for those that OpenAI's client adds in browsers. It has to be followed by
`authorization`, which it does not stand for."""


class Keys:
    """The keys of the server, which is open if there are none. Only their digests are kept."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> bool:
        """Return whether a request shows a valid key.

        A header decides if there is one, as in moshi-server; otherwise the query of a request that
        may have a key there.
        """
        return not self._digests or self._matches(shown_key(headers, query))

    def _matches(self, key: str | None) -> bool:
        """Compare with every key in constant time."""
        shown = _digest(key or "")
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(shown, digest)
        return found and key is not None


def shown_key(headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> str | None:
    """Return the key that a request shows, valid or not."""
    if HEADER in headers:
        return headers[HEADER]
    authorization = headers.get("Authorization")
    if authorization is not None:
        is_bearer = authorization.lower().startswith(BEARER)
        return authorization[len(BEARER) :].strip() if is_bearer else authorization
    for protocol in headers.get(PROTOCOL_HEADER, "").split(","):
        if protocol.strip().startswith(PROTOCOL_KEY):
            return protocol.strip().removeprefix(PROTOCOL_KEY)
    return next((query[name] for name in QUERY if name in query), None) if query else None


def caller_of(key: str | None, address: str | None) -> str:
    """Return the caller that sessions and requests are counted for: a digest of the key, or the
    address without one."""
    return _digest(key).hex()[:16] if key is not None else address or "unknown"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class WrongKeys:
    """Limit wrong keys to so many a minute of each address; None is no limit.

    Beyond that an address is admitted only with a key that was admitted from it before. A right
    guess looks like a wrong one, and clients behind the same proxy keep their access.
    """

    def __init__(self, a_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = RateLimit(a_minute, clock)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admits(self, address: str, caller: str, *, right: bool) -> bool:
        """Return whether a request with a right or wrong key may be answered accordingly."""
        client = (address, caller)
        if right and (client in self._known or self._rate.has_left(address)):
            self._known[client] = None
            self._known.move_to_end(client)
            if len(self._known) > MOST_CALLERS:
                self._known.popitem(last=False)
            return True
        return self._rate.admits(address)


class RateLimit:
    """Limit each caller to so many requests a minute, all of which may come at once; None is no
    limit. The callers that were not seen for longest are forgotten."""

    def __init__(self, a_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = a_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, caller: str) -> bool:
        """Count a request; return whether it may be answered."""
        if self._most is None:
            return True
        now, left = self._clock(), self._count(caller)
        self._left[caller] = (left - 1 if left >= 1 else left, now)
        self._left.move_to_end(caller)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return left >= 1

    def has_left(self, caller: str) -> bool:
        """Return whether a request would be answered, without counting one."""
        return self._most is None or self._count(caller) >= 1

    def _count(self, caller: str) -> float:
        assert self._most is not None
        now = self._clock()
        left, since = self._left.get(caller, (float(self._most), now))
        return min(float(self._most), left + (now - since) * self._most / 60)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server at that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port."""
    return urlsplit(f"//{host}").hostname or ""


class Origins:
    """The sites whose pages may use the server besides its own; `*` is any. A server without keys,
    `local`, answers only to the names of its own machine, so that a foreign name that leads to it
    does not make a foreign page its own."""

    def __init__(self, allowed: Sequence[str], *, local: bool) -> None:
        self._allowed, self._local = set(allowed), local

    def refuses(self, headers: Mapping[str, str], *, any_name: bool = False) -> str | None:
        """Return why a request is refused, or None. With `any_name` the server's name does not
        matter."""
        host = headers.get("Host", "")
        if self._local and not any_name and not is_loopback(_safe_host_name(host)):
            return (
                "this server has no keys, so it answers only under the names of its own machine, "
                "such as localhost; give it '--api-key' or '--no-auth'"
            )
        origin = headers.get("Origin")
        if origin is None or self.allows(origin) or _is_same(origin, host):
            return None
        return "pages of other sites must not use this server unless '--cors' names them"

    def allows(self, origin: str) -> bool:
        """Return whether the site is allowed."""
        return ANY_ORIGIN in self._allowed or origin in self._allowed

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let a page of an allowed site read the answer."""
        if origin is None or not self.allows(origin):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let such a page send requests at all."""
        found = self.headers(origin)
        more = {
            "Access-Control-Allow-Methods": CORS_METHODS,
            "Access-Control-Allow-Headers": CORS_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return found | more if found else {}


def _is_same(origin: str, host: str) -> bool:
    """Return whether a page came from this host and port. A proxy that adds TLS hides the scheme,
    so it is not compared."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def _safe_host_name(host: str) -> str:
    try:
        return host_name(host)
    except ValueError:
        return ""
