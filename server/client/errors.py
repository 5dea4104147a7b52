"""What can go wrong with a server, each in a line that says what to do."""

from ...runtime.errors import KyutaiOnnxError
from .address import Address


class ServerError(KyutaiOnnxError):
    """A server that does not answer, does not let us in, has no room, or broke off."""


def unreachable(address: Address, why: object) -> ServerError:
    """Nobody answers, or not as a server of ours does."""
    return ServerError(
        f"{address.url}: cannot be reached ({why}); is 'kyutai-onnx serve' running there?"
    )


def distrusted(address: Address, why: object) -> ServerError:
    """Its certificate is not one that is known."""
    return ServerError(
        f"{address.url}: its certificate is not trusted ({why}); name it by SSL_CERT_FILE"
    )


def refused(address: Address, status: int, said: str = "") -> ServerError:
    """It answered a request by a status that is an error."""
    if status == 401:
        way = "check '--api-key'" if address.key else "give '--api-key KEY'"
        return ServerError(f"{address.url}: does not let us in without the right key; {way}")
    if status in (429, 503):
        return busy(address, said)
    what = f"{status} {said}".strip()
    return ServerError(f"{address.url}: refused ({what}); is it 'kyutai-onnx serve'?")


def busy(address: Address, said: str) -> ServerError:
    """There is no room."""
    return ServerError(
        f"{address.url}: is busy ({said or 'no room'}); try again later, or give it more '--slots'"
    )


def broken(address: Address, why: str) -> ServerError:
    """It was lost amid its work."""
    return ServerError(
        f"{address.url}: broke off ({why}); what came before is kept: see its log, and try again"
    )
