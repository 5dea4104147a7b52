"""Models on a server, for `--server`."""

from typing import TYPE_CHECKING

from ..runtime.errors import UsageError
from .packages import require

if TYPE_CHECKING:
    from ..server.client import RemoteServer


def connect(url: str, api_key: str | None) -> "RemoteServer":
    """The server there, to be closed after use; `@FILE` is a file with the key.

    Raises UsageError for what is no URL, and where a package is missing.
    """
    require("serve", "aiohttp", "av", "msgspec")
    from ..server.client import RemoteServer
    from ..server.config import read_keys

    return RemoteServer(url, read_keys([api_key])[0] if api_key is not None else None)


def key_file(api_key: str | None) -> str | None:
    """The file that an API key is read from, if it names one."""
    return api_key[1:] if api_key is not None and api_key.startswith("@") else None


def refuse(**options: object) -> None:
    """Raises UsageError for options of a model that is here."""
    _refuse("with '--server' the model is not here", options)


def refuse_without(**options: object) -> None:
    """Raises UsageError for options of a server."""
    _refuse("is for '--server URL'", options)


def _refuse(why: str, options: dict[str, object]) -> None:
    for name, given in options.items():
        if given not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')}: {why}; leave it out")
