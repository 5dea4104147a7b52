"""What the protocols share: MessagePack, Ogg Opus, JSON of strangers. Bytes in, values out."""

from ...runtime.errors import KyutaiOnnxError


class ProtocolError(KyutaiOnnxError):
    """Bytes of a peer that are not what its protocol allows: one line, of what and why."""


NO_ROOM = "no free channels"
"""The error of a server that is full, in moshi-server's words."""
