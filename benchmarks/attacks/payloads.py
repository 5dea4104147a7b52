"""What hostile clients send, made by code."""

import base64
import functools
import gzip
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack

from kyutai_onnx.server.wire.ogg_opus import OggWriter, checksum

MB = 1 << 20
BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
FIELD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
FILE = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
CLOSING = f"\r\n--{BOUNDARY}--\r\n".encode()


def form(file: bytes, **fields: str) -> bytes:
    """A form as it should be, with a file and fields."""
    parts = [f"{FIELD % name}{value}\r\n".encode() for name, value in fields.items()]
    return b"".join([*parts, FILE.encode(), file, CLOSING])


def crafted_mp3(size: int) -> bytes:
    """Frames of MPEG 2 with noise between them, each of which has to be searched for."""
    frame = b"\xff\xf3\x14\x00" + bytes(20)
    return 3 * frame + (frame + b"\xff" * 900) * (size // 924)


def wav(rate: int, width: int, channels: int, data: bytes, declared: int | None = None) -> bytes:
    """A WAV file; `declared` is the size that its header claims."""
    size = len(data) if declared is None else declared
    block = width * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, 8 * width)
    head = b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + b"WAVEfmt \x10\0\0\0" + form
    return head + b"data" + struct.pack("<I", size) + data


FLOOD_SDS = zlib.decompress(
    base64.b64decode(
        "eNr7UMfAyMAg4OTK5GD9n+EDlOd2/YvvB5wyQAYDw3egCJRiYnBgqHdgYEAgZL1g1UgqkdC73O8/idLSwICq"
        "kWjUADbHAWoekhROZ/3//7+eTMvQ7cBEDegiNWDrGR3I9R+FqBZsPROtraGHHTjtBnuReaCsJxLVg13JQh/L"
        "hq4dDQQUVICDkRVdAgC8QJDR"
    )
)
"""1,253 bytes of SDS that make libsndfile print more than a megabyte to standard output."""

TRUNCATED_RF64 = b"RF64\x01\xff\xff\xffWAVEds64\x1c\x00\x00\x00\xe0\xbb\x00"


def flac_bomb(seconds: float) -> bytes:
    """Silence in eight channels at 96 kHz: 52 bytes a second that become 1.5 MB of samples."""
    block, rate, channels, bits = 65535, 96000, 8, 16
    frames = round(seconds * rate) // block
    info = struct.pack(">HH", block, block) + bytes(6)
    packed = rate << 44 | channels - 1 << 41 | bits - 1 << 36 | frames * block
    head = b"fLaC\x80\0\0\x22" + info + packed.to_bytes(8) + bytes(16)
    subframes = bytes(3 * channels)
    found = [head]
    for number in range(frames):
        begun = b"\xff\xf8\x7b\x78" + _utf8(number) + struct.pack(">H", block - 1)
        begun += bytes([_crc(begun, 8, 0x07)])
        found.append(begun + subframes + _crc(begun + subframes, 16, 0x8005).to_bytes(2))
    return b"".join(found)


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, found = _crc_table(bits, polynomial), (1 << bits) - 1, 0
    for byte in data:
        found = (found << 8 ^ table[(found >> bits - 8) ^ byte]) & mask
    return found


@functools.cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        found = value << bits - 8
        for _ in range(8):
            found = found << 1 ^ (polynomial if found >> bits - 1 & 1 else 0)
        table.append(found & (1 << bits) - 1)
    return table


def gzip_bomb(size: int) -> bytes:
    """So many zeros, a thousand times smaller."""
    return gzip.compress(bytes(MB), 9) * (size // MB)


def deflated(size: int) -> bytes:
    """So many zeros as the payload of a compressed websocket frame."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return (block * (size // MB))[:-4]


OPUS_HEAD = b"OpusHead\x01\x01" + struct.pack("<HI", 3840, 48000) + bytes(3)
OPUS_TAGS = b"OpusTags" + bytes(8)


def ogg_opus(packets: Iterator[bytes] | list[bytes], a_page: int = 200) -> bytes:
    """A stream of Opus whose pages hold so many packets of less than 255 bytes each."""
    writer = OggWriter(7)
    pages = [writer.page(OPUS_HEAD, 0), writer.page(OPUS_TAGS, 0)]
    held = list(packets)
    for number, start in enumerate(range(0, len(held), a_page), 2):
        some = held[start : start + a_page]
        head = b"OggS\0\0" + bytes(8) + (7).to_bytes(4, "little") + number.to_bytes(4, "little")
        tail = bytes([len(some), *map(len, some)]) + b"".join(some)
        pages.append(head + checksum(head + bytes(4) + tail) + tail)
    return b"".join(pages)


def tiny_packets(count: int, size: int) -> bytes:
    """A stream of packets of 2.5 ms with noise in them."""
    noise = random.Random(1)
    return ogg_opus([b"\x80" + noise.randbytes(size - 1) for _ in range(count)])


def opus_heads(count: int) -> bytes:
    """Streams that end as soon as they begin, each of which needs a decoder."""
    return b"".join(OggWriter(number).page(OPUS_HEAD, 0) for number in range(count))


def empty_pages(count: int) -> bytes:
    """A stream of pages without packets."""
    pages = [OggWriter(7).page(OPUS_HEAD, 0)]
    for number in range(1, count):
        head = b"OggS\0\0" + bytes(8) + (7).to_bytes(4, "little") + number.to_bytes(4, "little")
        pages.append(head + checksum(head + bytes(5)) + b"\0")
    return b"".join(pages)


def packed(**message: Any) -> bytes:
    """A message of moshi-server's protocols."""
    data: bytes = msgpack.packb(message, use_single_float=True)
    return data


def opus_message(stream: bytes) -> bytes:
    """A message of speech to text with pages of Opus."""
    return packed(type="OggOpus", data=stream)


def silence(samples: int) -> bytes:
    """A message of speech to text with silent audio."""
    return b"\x82\xa4type\xa5Audio\xa3pcm\xdd" + samples.to_bytes(4) + b"\xca\0\0\0\0" * samples
