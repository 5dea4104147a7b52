"""Broken inputs by the million, for everything that reads what strangers send or publish.

    python -m benchmarks.fuzz [--inputs 1000000] [--only NAME] [--jobs 1] [--folder FOLDER]

Every input is a valid one with up to four changes: bits flipped, bytes cut, inserted, doubled or
taken from another input, numbers made extreme. A parser returns, or raises an error that a user is
meant to see, in one line; takes less than a second of processor time; and its process does not
grow. What fails is written to `--folder` under its name and number, and the command ends with 1:
the same seed and number make the same input again. Parsers behind a C library or a file are slower,
and get the share of the inputs that the table shows.
"""

import argparse
import io
import json
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.errors import KyutaiOnnxError

from .memory import resident_mb

SLICE = 50_000
"""Inputs that one process tries before its result is noted."""
MOST_SECONDS = 1.0
MOST_GROWTH = 20.0
WARM = 2000
"""Inputs before the memory that later ones are compared with."""

Parse = Callable[[bytes], object]
EXTREMES = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\xff" * 7 + b"\x7f",
    b"\0" * 8,
    b"\0\0\xc0\x7f",
    b"\0\0\x80\x7f",
]
NUMBERS = [b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 30, b"9223372036854775808", b"1e-40"]
VALUES = [b"null", b"true", b"[]", b"{}", b'""', b'"a"', b"[" * 100, b"[[1]]", *NUMBERS]
DIGITS = b"0123456789"


def broken(valid: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the valid inputs, changed."""
    data = bytearray(chance.choice(valid))
    changes = BINARY if any(byte < 9 or byte > 127 for byte in data[:100]) else TEXT
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        data = chance.choice(changes)(data, valid, chance)
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Rather at the beginning, since headers are there."""
    size = len(data) if chance.random() < 0.6 else min(len(data), 64)
    return chance.randrange(size + 1) if size else 0


def _flip(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    if data:
        data[min(_place(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)
    return data


def _replace(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    place = _place(data, chance)
    new = chance.randbytes(chance.randint(1, 8))
    data[place : place + len(new)] = new
    return data


def _cut(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    del data[_place(data, chance) :]
    return data


def _drop(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    place = _place(data, chance)
    del data[place : place + chance.randint(1, 16)]
    return data


def _double(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    place = _place(data, chance)
    part = data[place : place + chance.randint(1, 64)]
    data[place:place] = part * chance.choice([1, 1, 2, 50])
    return data


def _splice(data: bytearray, valid: Sequence[bytes], chance: random.Random) -> bytearray:
    other = chance.choice(valid)
    start = chance.randrange(len(other) + 1)
    place = _place(data, chance)
    return data[:place] + other[start : start + chance.choice([8, 64, 4096])] + data[place:]


def _extreme(data: bytearray, _: Sequence[bytes], chance: random.Random) -> bytearray:
    place, new = _place(data, chance), chance.choice(EXTREMES)
    data[place : place + len(new)] = new
    return data


def _number(data: bytearray, valid: Sequence[bytes], chance: random.Random) -> bytearray:
    """A number in letters becomes another one."""
    place = _place(data, chance)
    while place < len(data) and data[place] not in DIGITS:
        place += 1
    end = place
    while end < len(data) and data[end] in DIGITS:
        end += 1
    if place == end:
        return _extreme(data, valid, chance)
    data[place:end] = chance.choice(NUMBERS)
    return data


def _value(data: bytearray, valid: Sequence[bytes], chance: random.Random) -> bytearray:
    """A value of JSON or TOML becomes another one, as a rule of another type."""
    start = data.find(chance.choice(b":=,["), chance.randrange(len(data) + 1)) + 1
    if not start:
        return _number(data, valid, chance)
    end = start
    while end < len(data) and data[end] not in b",]}\n":
        end += 1
    data[start:end] = chance.choice(VALUES)
    return data


BINARY = [_flip, _replace, _cut, _drop, _double, _splice, _extreme, _number]
TEXT = [_value, _value, _value, _number, _number, _flip, _drop, _double, _splice]


@dataclass(frozen=True)
class Parser:
    """`make` returns valid inputs and what reads them; of so many inputs in a million it gets
    `share`. `lost` is how many bytes the C library below it loses with each input, in megabytes."""

    make: Callable[[], tuple[list[bytes], Parse]]
    share: float = 1.0
    lost: float = 0.0


@cache
def scratch() -> Path:
    """A file in memory, where there is such a place, for what reads files alone."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    return Path(folder) / "file"


def of_file(read: Callable[[Path], object], ending: str = "") -> Parse:
    def parse(data: bytes) -> object:
        path = scratch().with_suffix(ending)
        path.write_bytes(data)
        return read(path)

    return parse


def either(request: Parse, reply: Parse) -> Parse:
    """What refuses an input only where both do."""

    def parse(data: bytes) -> object:
        try:
            return request(data)
        except KyutaiOnnxError:
            return reply(data)

    return parse


def as_json(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def speech_to_text() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.moshi_server import messages as own
    from kyutai_onnx.server.wire.messagepack import pack

    noise = np.linspace(-1, 1, 40, dtype=np.float32)
    valid = [
        *(own.InitMessage(), own.MarkerMessage(-7), own.AudioMessage(noise)),
        *(own.OggOpusMessage(bytes(150)), own.StepMessage(5, (0.1, 0.2), 19)),
        *(own.WordMessage("où", 0.4), own.EndWordMessage(0.9), own.ErrorMessage("no")),
    ]
    return [*map(pack, valid)], either(own.parse_stt_request, own.parse_stt_reply)


def text_to_speech() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.moshi_server import messages as own
    from kyutai_onnx.server.wire.messagepack import pack

    noise = np.linspace(-1, 1, 12, dtype=np.float32)
    valid = [
        *(own.TextMessage('one <break time="1s"/>'), own.VoiceMessage(noise, (1, 3, 4))),
        *(own.EosMessage(), own.TimedTextMessage("a", 0.1, 0.2)),
    ]
    return [b"\0", *map(pack, valid)], either(own.parse_tts_request, own.parse_tts_reply)


def chat() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.moshi_server.messages import parse_chat

    valid = [bytes([kind]) + bytes(8) for kind in range(11) if kind != 4]
    return [*valid, b'\4{"text_topk": 25, "seed": {"a": ""}}', b"\7\3 a"], parse_chat


def ogg() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.wire.ogg_opus import OggReader

    return [opus_stream()], lambda data: list(OggReader().push(data))


def opus() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.wire.ogg_opus import OggReader, OggWriter, OpusDecoder

    packets = [packet.data for packet in OggReader().push(opus_stream())]

    def parse(data: bytes) -> object:
        """Behind right headers, in pages whose checksum is right: libopus gets it."""
        writer = OggWriter(1)
        return OpusDecoder().push(b"".join(writer.page(one, 0) for one in [*packets[:2], data]))

    return packets[2:], parse


@cache
def opus_stream() -> bytes:
    from kyutai_onnx.server.wire.ogg_opus import OpusEncoder

    noise = np.random.default_rng(0).normal(0, 0.1, 4800).astype(np.float32)
    stream: bytes = OpusEncoder().push(noise)
    return stream


def wyoming() -> tuple[list[bytes], Parse]:
    from wyoming.asr import Transcribe
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.info import Describe
    from wyoming.ping import Ping
    from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeVoice

    from kyutai_onnx.server.wyoming.adapter import TextRequests
    from kyutai_onnx.server.wyoming.messages import EventReader, pack_event, parse_request

    messages = [
        [Describe(), Ping("a"), Transcribe("a", "en"), AudioStart(16000, 2, 1)],
        [AudioChunk(16000, 2, 1, bytes(64)), AudioStop()],
        [SynthesizeStart(SynthesizeVoice("a")), SynthesizeChunk("a"), Synthesize("a")],
    ]

    def parse(data: bytes) -> object:
        requests = TextRequests()
        for event in EventReader().push(data):
            message = parse_request(event)
            if message is not None and not isinstance(message, AudioChunk):
                requests.read(message)
        return None

    return [b"".join(map(pack_event, some)) for some in messages], parse


def speech_request() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.openai.messages import read_speech_request
    from kyutai_onnx.server.wire import parse_object

    body = {"model": "tts", "input": "one two", "voice": "alloy", "response_format": "wav"}
    more = {**body, "speed": 1.0, "seed": 7, "temperature": 0.5, "voice": {"id": "a"}}
    return as_json(body, more), lambda data: read_speech_request(parse_object(data), 4096)


def transcription_form() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.openai.messages import read_transcription_request

    fields = ["model=a", "response_format=verbose_json", "temperature=0.5", "stream=false"]
    valid = "\n".join([*fields, "timestamp_granularities[]=word", "prompt=two", "language=en"])

    def parse(data: bytes) -> object:
        pairs = (line.split("=", 1) for line in data.decode("utf-8", "replace").split("\n"))
        return read_transcription_request({pair[0]: pair[1:] for pair in pairs})

    return [valid.encode()], parse


def configuration() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.server.config import read_config

    ours = b'host = "127.0.0.1"\nport = 8998\n[[models]]\nmodel = "a"\n[limits]\nqueue = 4\n'
    theirs = (
        b'static_dir = "./static/"\nlog_dir = "$HOME/logs"\nauthorized_ids = ["a"]\n'
        b'[modules.asr]\npath = "/api/asr-streaming"\ntype = "BatchedAsr"\nbatch_size = 64\n'
        b'lm_model_file = "a"\n[modules.asr.model]\naudio_vocab_size = 2049\ndelay = 0.5\n'
    )
    return [ours, theirs], of_file(read_config, ".toml")


def manifest() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.bundle.bundle import read_manifest
    from kyutai_onnx.runtime.bundle.manifest import FILE_NAME

    def read(path: Path) -> object:
        path.rename(path.with_name(FILE_NAME))
        return read_manifest(path.parent)

    full = json.loads((DEMO / "tts" / FILE_NAME).read_text("utf-8"))
    return as_json(full), of_file(read)


def state_json() -> tuple[list[bytes], Parse]:
    """The JSON of a state, its arrays being as they were: what is wrong gets to the fields."""
    from kyutai_onnx.models import Mimi, SpeechToText
    from kyutai_onnx.runtime.bundle.dataclass_json import parse_object
    from kyutai_onnx.runtime.state_file import META, _join, write_state

    speech, codec = SpeechToText.load(threads=1).stream(), Mimi.load(threads=1).stream("encode")
    arrays: dict[str, Any] = {}
    valid = []
    for saved in (speech.save(), codec.save()):
        write_state(scratch(), saved)
        with np.load(scratch()) as file:
            valid.append(bytes(file[META]))
            arrays |= dict(file)

    def parse(data: bytes) -> object:
        try:
            saved = _join(parse_object(data), "", arrays)
        except (ValueError, KeyError) as error:
            raise KyutaiOnnxError(str(error).partition("\n")[0][:100]) from None
        return (codec if saved.get("kind") == "mimi-encoder" else speech).load(saved)

    return valid, parse


def archives() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.state_file import read_state, write_state

    state = {"a": 1, "b": {"c": np.arange(6.0), "d": np.zeros((0, 3), np.int64)}, "e": "text"}
    write_state(scratch(), state)
    plain, packed = scratch().read_bytes(), io.BytesIO()
    with np.load(io.BytesIO(plain)) as arrays:
        np.savez_compressed(packed, **arrays)
    return [plain, packed.getvalue()], of_file(read_state)


def codes() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.cli.output.codes_file import read_codes

    file = io.BytesIO()
    np.savez(file, codes=np.arange(24).reshape(8, 3), samples=np.int64(5000))
    return [file.getvalue()], of_file(lambda path: read_codes(str(path)))


def wav_header() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.audio.files.source import ByteSource
    from kyutai_onnx.runtime.audio.files.wav import build_header, read_header
    from kyutai_onnx.runtime.audio.pcm import RawFormat

    valid = [
        build_header(RawFormat(rate, encoding, channels), size) + bytes(64)
        for rate, channels, encoding, size in (
            (24000, 1, "s16le", 64),
            (48000, 2, "f32le", None),
            (8000, 1, "u8", 64),
        )
    ]

    def parse(data: bytes) -> object:
        return read_header(ByteSource("a", io.BytesIO(data), whole=True, owned=True))

    return valid, parse


def mpeg() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.audio.files.sndfile import scan_mpeg

    frame = b"\xff\xfb\x90\x64" + bytes(413)
    tag = b"ID3\4\0\0\0\0\0\x14" + bytes(20)
    return [frame * 3, tag + frame * 3], lambda data: scan_mpeg(io.BytesIO(data))


def ogg_end() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.audio.files.sndfile import is_complete_ogg

    return [opus_stream()], lambda data: is_complete_ogg(io.BytesIO(data))


def raw_pcm() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.runtime.audio.pcm import check_samples, decode

    valid = [np.linspace(-1, 1, 32, dtype=dtype).tobytes() for dtype in ("<f4", "<f8")]
    kinds: list[Any] = ["s16le", "f32le", "u8", "s24le"]

    def parse(data: bytes) -> object:
        kind = kinds[len(data) % len(kinds)]
        return check_samples(decode(data[: len(data) // 12 * 12], kind))

    return valid, parse


def sound_file() -> tuple[list[bytes], Parse]:
    import soundfile

    from kyutai_onnx.runtime.audio import read_audio

    def written(container: str, subtype: str) -> bytes:
        file = io.BytesIO()
        noise = np.random.default_rng(0).normal(0, 0.1, 2400)
        soundfile.write(file, noise, 24000, subtype, format=container)
        return file.getvalue()

    kinds = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]

    def parse(data: bytes) -> object:
        return sum(1 for _ in zip(range(20), read_audio(io.BytesIO(data), 24000), strict=False))

    return [written(*kind) for kind in [*kinds, ("AIFF", "PCM_24")]], parse


class _Spelling:
    """Stands for SentencePiece."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) % 300 for letter in text]

    def unk_id(self) -> int:
        return 0


def script() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.models.tts.script_parser import ScriptParser

    def parse(data: bytes) -> object:
        reader = ScriptParser(_Spelling(), 12.5, speakers=True, padding_between=1)
        text = data.decode("utf-8", "surrogateescape")
        half = len(text) // 2
        return [*reader.feed(text[:half]), *reader.feed(text[half:]), *reader.next_turn()]

    return ['one <break time="1.5s"/> two: (three) ’s'.encode()], parse


def samples_manifest() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.cli.evaluation.datasets import _manifest

    word = {"text": "a", "start": 0.1, "end": 0.5}
    lines = as_json({"audio": "a.wav", "text": "one"}, {"audio": "b", "text": "c", "words": [word]})
    return [b"\n".join(lines)], of_file(lambda path: list(_manifest(path)))


def safetensors() -> tuple[list[bytes], Parse]:
    import torch
    from safetensors.torch import save

    from kyutai_onnx.conversion.checkpoint.safetensors_file import SafetensorsFile

    def read(path: Path) -> object:
        file = SafetensorsFile(path)
        return [file.read(name) for name in file.shapes()]

    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    return [save(tensors), save({**tensors, "c": torch.zeros(2, dtype=torch.int8)})], of_file(read)


def gguf() -> tuple[list[bytes], Parse]:
    from kyutai_onnx.conversion.checkpoint.gguf_file import GgufFile

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    def read(path: Path) -> object:
        file = GgufFile(path)
        return [file.read(name) for name in file.shapes()]

    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2)
    head += text(b"general.alignment") + struct.pack("<II", 4, 32)
    head += text(b"names") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc")
    head += text(b"x") + struct.pack("<IQQIQ", 2, 3, 2, 0, 0)
    head += text(b"y") + struct.pack("<IQIQ", 1, 32, 8, 32)
    return [head + bytes(-len(head) % 32) + bytes(32 + 34)], of_file(read)


def pickles() -> tuple[list[bytes], Parse]:
    import torch

    from kyutai_onnx.conversion.checkpoint.pickle_file import PickleFile

    file = io.BytesIO()
    torch.save({"a": torch.zeros(2, 3), "b": torch.ones(4)}, file)
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, plain, _use_new_zipfile_serialization=False)
    return [file.getvalue(), plain.getvalue()], of_file(PickleFile)


PARSERS = {
    "listening": Parser(speech_to_text),
    "speaking": Parser(text_to_speech),
    "chat": Parser(chat),
    "ogg": Parser(ogg),
    "opus": Parser(opus, 0.1),
    "wyoming": Parser(wyoming),
    "speech-request": Parser(speech_request),
    "transcription-form": Parser(transcription_form),
    "configuration": Parser(configuration, 0.2),
    "manifest": Parser(manifest, 0.1),
    "state-json": Parser(state_json, 0.1),
    "archives": Parser(archives, 0.2),
    "codes": Parser(codes, 0.2),
    "wav-header": Parser(wav_header),
    "mpeg": Parser(mpeg),
    "ogg-end": Parser(ogg_end),
    "raw-pcm": Parser(raw_pcm),
    "sound-file": Parser(sound_file, 0.02, lost=1e-3),
    "script": Parser(script),
    "samples-manifest": Parser(samples_manifest),
    "safetensors": Parser(safetensors, 0.2),
    "gguf": Parser(gguf, 0.2),
    "pickle": Parser(pickles, 0.05),
}


@dataclass(frozen=True)
class Tried:
    """What became of some inputs of a parser."""

    name: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    grown: float = 0.0
    failed: tuple[str, ...] = ()

    def __add__(self, other: "Tried") -> "Tried":
        return Tried(
            self.name,
            self.inputs + other.inputs,
            self.refused + other.refused,
            self.seconds + other.seconds,
            max(self.slowest, other.slowest),
            max(self.grown, other.grown),
            self.failed + other.failed,
        )


def attempt(parse: Parse, data: bytes) -> str | bool:
    """Whether it was refused; or in a text, why that was wrong."""
    try:
        parse(data)
    except KyutaiOnnxError as error:
        why = str(error)
        return True if "\n" not in why and len(why) < 1000 else f"not a line: {why[:200]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return False


def try_slice(name: str, seed: int, start: int, stop: int, folder: Path) -> Tried:
    """Tries the inputs of these numbers."""
    valid, parse = PARSERS[name].make()
    for data in valid:
        assert attempt(parse, data) is False, f"{name}: a valid input is refused"
    tried, base, failed = Tried(name), 0.0, list[str]()
    for number in range(start, stop):
        data = broken(valid, random.Random(f"{seed}:{name}:{number}"))
        began = time.process_time()
        outcome = attempt(parse, data)
        took = time.process_time() - began
        if took > MOST_SECONDS:
            outcome = f"{took:.1f} s"
        if isinstance(outcome, str):
            (folder / f"{name}-{number}.bin").write_bytes(data)
            failed.append(f"{name} {number}: {outcome}")
        if number == start + WARM:
            base = resident_mb()
        tried += Tried(name, 1, outcome is True, took, took)
    grown = resident_mb() - base if stop - start > WARM else 0.0
    if grown > MOST_GROWTH + PARSERS[name].lost * (stop - start):
        failed.append(f"{name} {start}-{stop}: the process grew by {grown:.0f} MB")
    return replace(tried, grown=grown, failed=tuple(failed))


def slices(names: Sequence[str], inputs: int, first: int) -> Iterator[tuple[str, int, int]]:
    for name in names:
        count = max(1, round(inputs * PARSERS[name].share))
        for start in range(first, first + count, SLICE):
            yield name, start, min(start + SLICE, first + count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARSERS, action="append")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    names = given.only or list(PARSERS)
    results = {name: Tried(name) for name in names}
    with ProcessPoolExecutor(given.jobs, max_tasks_per_child=1) as pool:
        work = list(slices(names, given.inputs, given.first))
        futures = [
            pool.submit(try_slice, name, given.seed, start, stop, given.folder)
            for name, start, stop in work
        ]
        for (name, _, stop), future in zip(work, futures, strict=True):
            results[name] += future.result()
            for line in future.result().failed:
                print(f"FAILED: {line}", flush=True)
            print(json.dumps({"parser": name, "up_to": stop}), flush=True)
    print("| parser | inputs | refused | seconds | µs each | slowest, ms | grown, MB | failed |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for one in results.values():
        print(
            f"| {one.name} | {one.inputs} | {one.refused} | {one.seconds:.0f} | "
            f"{1e6 * one.seconds / max(1, one.inputs):.0f} | {1e3 * one.slowest:.0f} | "
            f"{one.grown:.1f} | {len(one.failed)} |"
        )
    raise SystemExit(1 if any(one.failed for one in results.values()) else 0)


if __name__ == "__main__":
    main()
