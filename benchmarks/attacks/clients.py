"""Well-behaved clients of the attacked server."""

import http.client
import ssl
from urllib.parse import urlsplit


def connection(url: str, timeout: float) -> http.client.HTTPConnection:
    """A connection of its own; certificates are not checked."""
    place = urlsplit(url)
    assert place.hostname is not None
    if place.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(
            place.hostname, place.port, timeout=timeout, context=context
        )
    return http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
