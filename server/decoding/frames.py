"""What a server and its decoder processes say to each other."""

import json
import struct
from dataclasses import asdict, dataclass
from typing import BinaryIO, Self

HEADER = struct.Struct("<BI")
"""Kind and length of a payload."""
REQUEST, ANSWER, ERROR = range(3)


@dataclass(frozen=True)
class JobSpec:
    """A job by the name of its class, `module:Class`, and what it is allowed: bytes of memory
    besides what its process begins with, seconds of a processor for each request, and how much it
    gives way to other processes."""

    job: str
    memory: int
    processor: int
    nice: int

    def pack(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, packed: str) -> Self:
        """From JSON."""
        return cls(**json.loads(packed))


def read_frame(stream: BinaryIO) -> bytes | None:
    """The payload of the next frame; None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    _, size = HEADER.unpack(header)
    payload = stream.read(size)
    return payload if len(payload) == size else None


def write_frame(stream: BinaryIO, kind: int, payload: bytes) -> None:
    """Sends a frame at once."""
    stream.write(HEADER.pack(kind, len(payload)))
    stream.write(payload)
    stream.flush()
