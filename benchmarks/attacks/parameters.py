"""Requests in good form whose parameters are hostile."""

import json
import urllib.parse

from tests.support.raw_websocket import LISTEN

from .catalogue import attack
from .payloads import FORM, form, ogg_opus, packed, silence, wav
from .target import Target
from .uploads import JSON, SPEECH, TRANSCRIPTIONS

SPEAK, CHAT = "/api/tts_streaming", "/api/chat"
TEMPERATURES = ("1e-40", "1e-45", "5e-324", "1e308", "nan", "-1")
FRAMES = 25
SECONDS = 1.0
"""For which a session with such a parameter goes on."""


def _listen(target: Target, query: str, message: bytes) -> None:
    with target.websocket(f"{LISTEN}?{query}") as client:
        if client.status != 101:
            target.count(client.status)
            return
        for _ in range(FRAMES):
            client.send(message)
        client.send(packed(type="Eos"))
        target.end_of(client)


def _speak(target: Target, query: str) -> None:
    with target.websocket(f"{SPEAK}?format=PcmMessagePack&{query}") as client:
        if client.status != 101:
            target.count(client.status)
            return
        client.send(packed(type="Text", text="nine fifty"))
        client.send(packed(type="Eos"))
        target.end_of(client, 2 * SECONDS)


@attack()
def tiny_temperatures(target: Target) -> None:
    """temperature=1e-40 and its like in a form, a query and JSON"""
    file = wav(24000, 2, 1, bytes(48000))

    def send(number: int) -> None:
        for value in TEMPERATURES:
            if number == 0:
                target.post(TRANSCRIPTIONS, form(file, temperature=value), FORM)
            elif number == 1:
                _listen(target, f"temperature={value}", silence(1920))
            elif number == 2:
                _speak(target, f"temperature={value}")
            else:
                body = json.dumps({"input": "nine", "temperature": float(value)})
                target.post(SPEECH, body.encode(), JSON)

    target.again(4, send)


@attack("chat")
def tiny_temperatures_of_talks(target: Target) -> None:
    """text_temperature=1e-40 and its like in the query of /api/chat"""
    audio = b"\x01" + ogg_opus([b"\xf8\xff\xfe"] * 100)

    def send(number: int) -> None:
        for value in TEMPERATURES:
            name = ("text_temperature", "audio_temperature")[number]
            with target.websocket(f"{CHAT}?{name}={value}") as client:
                if client.status != 101:
                    target.count(client.status)
                    continue
                client.send(audio)
                target.end_of(client, SECONDS)

    target.again(2, send)


@attack()
def extreme_numbers(target: Target) -> None:
    """padding_bonus=1e308, padding_between=2^63-1, top_k=2^31 and others in queries"""
    queries = [
        "padding_bonus=1e308",
        "padding_bonus=-1e308",
        f"padding_between={2**63 - 1}",
        f"top_k={2**31}",
        "top_k=0",
        f"seed={2**64}",
        f"seed={'9' * 4000}",
        "cfg_coef=1e308",
        "cfg_coef=nan",
    ]
    target.again(3, lambda number: [_speak(target, query) for query in queries[number:]])


@attack()
def extreme_samples(target: Target) -> None:
    """samples that are NaN, infinite or as large as float32 allows"""
    loud = [packed(type="Audio", pcm=[value] * 1920) for value in (float("nan"), 1e30, 3e38, 9e29)]
    target.again(3, lambda _: [_listen(target, "", message) for message in loud])


@attack()
def unknown_voices(target: Target) -> None:
    """voices that do not exist, some with paths as names, some of a megabyte"""
    names = ["nobody", "../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "hf://a/b", "\0"]
    names += ["a" * 900_000]

    def ask(_: int) -> None:
        for name in names:
            body = json.dumps({"input": "nine", "voice": name}).encode()
            target.post(SPEECH, body, JSON)
            _speak(target, "voice=" + urllib.parse.quote(name[:4000]))

    target.again(3, ask)


@attack()
def voices_as_numbers(target: Target) -> None:
    """voices of 8 MB of numbers, sent by websocket"""
    message = packed(type="Voice", embeddings=[0.5] * 1_600_000, shape=[1, 1_600_000])

    def send(_: int) -> None:
        with target.websocket(f"{SPEAK}?format=PcmMessagePack") as client:
            if client.status == 101:
                client.send(message)
            target.end_of(client)

    target.again(3, send)


@attack("keys")
def wrong_keys(target: Target) -> None:
    """as many requests with wrong keys as four clients can send"""

    def guess(number: int) -> None:
        for trial in range(100):
            headers = (f"kyutai-api-key: {number}-{trial}", "Content-Type: application/json")
            target.ask("POST", SPEECH, b"{}", *headers)

    target.again(4, guess)
