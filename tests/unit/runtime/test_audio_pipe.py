"""Pipes: WAV and raw PCM are read while they arrive, other formats once they have; "-" is stdin."""

import io
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import soundfile
from support.pipes import piped

from kyutai_onnx.runtime.audio import (
    AudioReader,
    AudioWriter,
    Encoding,
    Pcm,
    RawFormat,
    probe,
    read_audio,
)
from kyutai_onnx.runtime.errors import AudioError, UsageError

SUBTYPES: dict[str, Encoding] = {
    "PCM_U8": "u8",
    "PCM_16": "s16le",
    "PCM_24": "s24le",
    "PCM_32": "s32le",
    "FLOAT": "f32le",
    "DOUBLE": "f64le",
}


def noise(shape: int | tuple[int, ...]) -> Pcm:
    return (0.1 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)


def joined(blocks: AudioReader) -> Pcm:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def wav(samples: Pcm, rate: int, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, subtype, format="WAV")
    return stream.getvalue()


def unsized(data: bytes) -> bytes:
    """A WAV as a program writes it to a pipe, not knowing how long it will be."""
    at = data.index(b"data") + 4
    return data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("shape", [5000, (5000, 3)])
def test_wav_on_a_pipe_gives_what_libsndfile_reads_from_the_file(
    subtype: str, shape: int | tuple[int, int]
) -> None:
    data = wav(noise(shape) * 12, 24000, subtype)
    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    cuts = [0, 1, 11, 30, 47, 3001, 3002, 9000, len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
    with piped(*pieces) as stream:
        pcm = joined(read_audio(stream, 24000, channel=0))
    np.testing.assert_array_equal(pcm, expected[:, 0])


def test_a_block_comes_out_before_the_stream_ends() -> None:
    data = unsized(wav(noise(4000), 24000))
    out, into = os.pipe()
    with os.fdopen(out, "rb") as stream, os.fdopen(into, "wb", buffering=0) as writer:
        writer.write(data[:2044])
        blocks = read_audio(stream, 24000)
        assert len(next(blocks)) == 1000
        writer.write(data[2044:3045])
        assert len(next(blocks)) == 500
        writer.write(data[3045:])
        writer.close()
        assert len(joined(blocks)) == 2500


@pytest.mark.parametrize("unknown", [True, False])
def test_wav_with_chunks_after_its_samples_gives_only_samples(unknown: bool) -> None:
    samples = noise(1000)
    data = wav(samples, 24000, "FLOAT") + (b"" if unknown else b"LIST\x04\0\0\0INFO")
    with piped(unsized(data) if unknown else data) as stream:
        reader = read_audio(stream, 24000)
        assert reader.info.frames == (None if unknown else 1000)
        np.testing.assert_array_equal(joined(reader), samples)


def test_a_wav_stream_that_ends_before_its_size_is_ordinary_on_a_pipe() -> None:
    with piped(wav(noise(1000), 24000)[:1044]) as stream:
        assert len(joined(read_audio(stream, 24000))) == 500


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("WAV", "ULAW")],
)
def test_other_formats_on_a_pipe_give_what_the_file_gives(
    container: str, subtype: str | None
) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(24000), 48000, subtype, format=container)
    with piped(file.getvalue()) as stream:
        reader = read_audio(stream, 24000)
        assert reader.info.frames == 24000
        pcm = joined(reader)
    np.testing.assert_array_equal(pcm, joined(read_audio(file, 24000)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"MAC " + bytes(500), "is Monkey's Audio, "),
        (b"some text, not sound\n" * 50, "is not audio"),
    ],
)
def test_a_pipe_without_audio_is_an_audio_error(data: bytes, said: str) -> None:
    with piped(data) as stream, pytest.raises(AudioError) as caught:
        read_audio(stream, 24000)
    assert said in str(caught.value)
    if data:
        assert str(caught.value).endswith(": ffmpeg -i IN -ar 24000 -ac 1 OUT.wav")


STEPS = {"u8": 1 / 127, "s8": 1 / 127, "mulaw": 0.02, "alaw": 0.02}
"""How far the coarser encodings may round samples up to 0.5."""


@pytest.mark.parametrize("encoding", get_args(Encoding))
def test_raw_pcm_is_read_as_declared(encoding: Encoding) -> None:
    written = io.BytesIO()
    samples = noise((2000, 2))
    with AudioWriter(written, 16000, 2, raw=encoding) as writer:
        writer.write(samples)
    raw = RawFormat(16000, encoding, 2)
    assert len(written.getvalue()) == 2000 * raw.frame_bytes
    with piped(written.getvalue() + b"\0") as stream:
        reader = read_audio(stream, 16000, channel=1, raw=raw)
        assert reader.info.frames is None
        pcm = joined(reader)
    np.testing.assert_allclose(pcm, samples[:, 1], atol=STEPS.get(encoding, 1 / 32767))


def test_encodings_are_what_libsndfile_takes_them_for() -> None:
    samples = noise(500)
    for encoding, subtype, endian in (
        ("s16be", "PCM_16", "BIG"),
        ("s24be", "PCM_24", "BIG"),
        ("s32be", "PCM_32", "BIG"),
        ("f32be", "FLOAT", "BIG"),
        ("f64be", "DOUBLE", "BIG"),
        ("s8", "PCM_S8", "LITTLE"),
        ("mulaw", "ULAW", "LITTLE"),
    ):
        written = io.BytesIO()
        soundfile.write(written, samples, 8000, subtype, endian, format="RAW")
        pcm = joined(read_audio(written, 8000, raw=RawFormat(8000, encoding)))  # type: ignore[arg-type]
        np.testing.assert_allclose(pcm, samples, atol=STEPS.get(encoding, 1 / 32767))


def test_raw_pcm_of_a_file_knows_its_length(tmp_path: Path) -> None:
    path = tmp_path / "take.raw"
    path.write_bytes(np.arange(100, dtype="<i2").tobytes())
    reader = read_audio(path, 8000, raw=RawFormat(8000))
    assert (reader.info.frames, reader.info.format) == (100, "raw s16le")
    np.testing.assert_array_equal(joined(reader), np.arange(100, dtype=np.float32) / 32768)
    with pytest.raises(AudioError, match=r"take\.raw .* header.*--raw"):
        read_audio(path, 8000)


@pytest.mark.parametrize(
    "wrong", [{"encoding": "s17le"}, {"channels": 0}, {"sample_rate": 0}], ids=str
)
def test_a_raw_format_that_cannot_be_is_a_usage_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RawFormat(**{"sample_rate": 24000, **wrong})  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_a_named_pipe_is_read_like_any_pipe(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"pipe.{extension}"
    os.mkfifo(path)
    file = io.BytesIO()
    soundfile.write(file, noise(6000), 24000, format=extension.upper())
    thread = threading.Thread(target=path.write_bytes, args=(file.getvalue(),))
    thread.start()
    assert len(joined(read_audio(path, 24000))) == 6000
    thread.join()


@pytest.mark.parametrize("name", ["-", Path("-")])
def test_a_dash_is_standard_input_even_where_that_is_a_file(
    name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.flac"
    soundfile.write(path, noise(6000), 24000)
    with path.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        assert len(joined(read_audio(name, 24000))) == 6000
        stream.seek(0)
        assert probe(name).frames == 6000
        assert not stream.closed


def test_a_terminal_or_no_standard_input_is_an_audio_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(isatty=lambda: True)))
    with pytest.raises(AudioError, match="terminal"):
        read_audio("-", 24000)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(AudioError, match="no standard input"):
        read_audio("-", 24000)


COPY = """
from kyutai_onnx.runtime.audio import AudioWriter, read_audio
with AudioWriter("-", 24000) as writer:
    for block in read_audio("-", 24000):
        writer.write(block)
"""


def test_standard_input_and_output_carry_wav_between_programs() -> None:
    data = unsized(wav(noise(48000), 24000))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COPY], input=data, capture_output=True, check=True
    )
    assert done.stderr == b""
    assert done.stdout == data


def test_a_reader_that_leaves_standard_output_is_a_broken_pipe_and_no_noise() -> None:
    code = (
        "import sys, numpy\n"
        "from kyutai_onnx.runtime.audio import AudioWriter\n"
        "try:\n"
        "    with AudioWriter('-', 24000) as writer:\n"
        "        while True: writer.write(numpy.zeros(24000, numpy.float32))\n"
        "except BrokenPipeError: sys.exit('it has enough')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1000)
        process.stdout.close()
        said = process.stderr.read().decode()
    assert said.strip() == "it has enough"
    assert process.returncode == 1
