"""Strangers' audio, decoded in other processes: no C library stalls, floods or ends the server.

`Decoders` is the server's side, `worker` the other one, `jobs` is what runs there.
"""

from .decoders import Decoders, OpusStream, RecordingDecoder

__all__ = ["Decoders", "OpusStream", "RecordingDecoder"]
