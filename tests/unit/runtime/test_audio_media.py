"""Sound in containers that libsndfile does not know, films among them, by PyAV."""

import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Command
from support.pipes import piped
from support.recordings import film, tone
from support.speech import RATE, whole

from kyutai_onnx.runtime.audio import Pcm, probe, read_audio
from kyutai_onnx.runtime.errors import AudioError
from kyutai_onnx.server.wire.ogg_opus import OggWriter

av = pytest.importorskip("av", reason="the media extra is not installed")


def read(path: Path | io.BytesIO, rate: int, **options: Any) -> Pcm:
    return np.concatenate(list(read_audio(path, rate, **options)))


LOSSLESS = [("matroska", "flac", 48000), ("ipod", "alac", 44100), ("avi", "pcm_s16le", 24000)]
LOSSY = [
    ("ipod", "aac", 48000),
    ("mp4", "aac", 24000),
    ("webm", "libopus", 48000),
    ("flv", "libmp3lame", 44100),
    ("adts", "aac", 44100),
    ("mpegts", "aac", 48000),
    ("mpegts", "mp2", 48000),
    ("mpeg", "mp2", 44100),
    ("ac3", "ac3", 48000),
    ("eac3", "eac3", 48000),
    ("wav", "ac3", 48000),
    ("wv", "wavpack", 16000),
    ("amr", "libopencore_amrnb", 8000),
]


@pytest.mark.parametrize(("container", "codec", "rate"), LOSSLESS)
@pytest.mark.parametrize("pictures", [0.0, 3.0])
def test_samples_come_back(
    tmp_path: Path, container: str, codec: str, rate: int, pictures: float
) -> None:
    if container == "ipod" and pictures:
        container = "mov"
    path = film(tmp_path / "film", tone(rate), rate, container, codec, pictures=pictures)
    pcm = read(path, rate)
    assert (probe(path).sample_rate, probe(path).channels) == (rate, 1)
    np.testing.assert_allclose(pcm, tone(rate), atol=2**-14)


@pytest.mark.parametrize(("container", "codec", "rate"), LOSSY)
def test_sound_comes_back(tmp_path: Path, container: str, codec: str, rate: int) -> None:
    pcm, spoken = read(film(tmp_path / "x", tone(rate), rate, container, codec), rate), tone(rate)
    assert abs(len(pcm) - len(spoken)) < 0.1 * rate
    length = 2 ** (2 * len(spoken)).bit_length()
    spectra = np.fft.rfft(pcm, length) * np.fft.rfft(spoken, length).conj()
    found = np.fft.irfft(spectra).max() / np.linalg.norm(pcm) / np.linalg.norm(spoken)
    assert found > 0.99


def test_aac_in_wav(tmp_path: Path) -> None:
    """As radio stations keep it: the frames of an AAC file behind a header of WAV."""
    path = film(tmp_path / "x.aac", tone(24000), 24000, "adts", "aac")
    frames, expected = path.read_bytes(), read(path, 24000)
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 0x1600, 1, 24000, 4000, 1, 16)
    data = struct.pack("<4sI", b"data", len(frames)) + frames
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(layout) + len(data), b"WAVE")
    np.testing.assert_array_equal(read(io.BytesIO(riff + layout + data), 24000), expected)


SPEEX_MODE, SPEEX_BITS = 3, 160
"""The mode of 8 kbit/s and its bits a frame of 20 ms."""


def speex(frames: int) -> bytes:
    """Speex at 8 kHz in Ogg: frames whose every bit but the mode's is chance."""
    head = b"Speex   " + b"1.2".ljust(20, b"\0")
    head += struct.pack("<13i", 1, 80, 8000, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    writer, chance = OggWriter(7), random.Random(0)
    pages = [writer.page(head, 0), writer.page(struct.pack("<iI", 0, 0), 0)]
    for index in range(1, frames + 1):
        bits = SPEEX_MODE << SPEEX_BITS - 5 | chance.getrandbits(SPEEX_BITS - 5)
        packet = bits.to_bytes(SPEEX_BITS // 8)
        pages.append(writer.page(packet, 160 * index, last=index == frames))
    return b"".join(pages)


def test_speex_is_read_as_it_is_decoded() -> None:
    with av.open(io.BytesIO(speex(50)), format="ogg") as file:
        decoded = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    pcm = read(io.BytesIO(speex(50)), 8000)
    assert len(pcm) == 50 * 160
    np.testing.assert_allclose(pcm, np.concatenate(decoded), atol=1e-6)


def test_a_transport_stream_of_a_disk_has_its_time_before_each_packet(tmp_path: Path) -> None:
    path = film(tmp_path / "x.ts", tone(48000), 48000, "mpegts", "aac")
    packets = path.read_bytes()
    timed = b"".join(bytes(4) + packets[at : at + 188] for at in range(0, len(packets), 188))
    np.testing.assert_array_equal(read(io.BytesIO(timed), 48000), read(path, 48000))


@pytest.mark.parametrize("block_seconds", [0.01, 0.3, 100.0])
def test_blocks_of_any_size_and_pipes_give_the_same(tmp_path: Path, block_seconds: float) -> None:
    path = film(tmp_path / "x.mkv", tone(48000), 48000, "matroska", "libopus", pictures=1.0)
    expected = read(path, 48000)
    blocks = list(read_audio(path, 48000, block_seconds=block_seconds))
    assert max(map(len, blocks)) <= max(block_seconds * 48000, 1)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(read(io.BytesIO(path.read_bytes()), 48000), expected)
    with piped(path.read_bytes()) as stream:
        np.testing.assert_array_equal(np.concatenate(list(read_audio(stream, 48000))), expected)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus")])
def test_a_film_is_transcribed(
    tmp_path: Path, command: Command, speech: Path, text: str, container: str, codec: str
) -> None:
    path = film(tmp_path / "film", whole(speech), RATE, container, codec, pictures=6.0)
    done = command("transcribe", path, "-q")
    assert (done.code, done.out.split()) == (0, text.split())


def damage(path: Path) -> tuple[Pcm, str]:
    """What is read before the error, and the error."""
    blocks: list[Pcm] = [np.zeros(0, np.float32)]

    def read_on() -> None:
        blocks.extend(read_audio(path, 24000, block_seconds=0.05))

    with pytest.raises(AudioError) as caught:
        read_on()
    return np.concatenate(blocks), str(caught.value)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "libopus")]
)
@pytest.mark.parametrize("pictures", [0.0, 3.0])
def test_a_file_that_is_cut_gives_what_is_there(
    tmp_path: Path, container: str, codec: str, pictures: float
) -> None:
    pcm = tone(24000, 3.0)
    path = film(tmp_path / "film", pcm, 24000, container, codec, pictures=pictures)
    expected = read(path, 24000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, error = damage(path)
    assert 0.2 * len(pcm) < len(found) < 0.8 * len(pcm)
    sure = len(found) - 2000
    np.testing.assert_allclose(found[:sure], expected[:sure], atol=1e-5)
    assert "is cut short " in error or "is damaged at" in error


def test_a_film_may_go_on_after_its_sound(tmp_path: Path) -> None:
    path = film(tmp_path / "film", tone(24000), 24000, "matroska", "flac", pictures=9.0)
    assert len(read(path, 24000)) == 48000


def test_a_film_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as made:
        images = made.add_stream("mpeg4", rate=25)
        images.width = images.height = 64
        image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        made.mux(images.encode(image))
        made.mux(images.encode(None))
    assert damage(path)[1].startswith(f"{path} holds no sound: ")


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypM4A \0\0\0\0",
        b"\x1aE\xdf\xa3\x9f\x42\x86\x81",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"\xff\xf1\x50\x80\x2e\x7f\xfc",
        b"FLV\x01\x05\0\0\0\x09",
        b"RIFF\0\x10\0\0AVI LIST",
        b"wvpk\x0a\x30\0\0\x10\x04",
        b"\x0b\x77\x66\x85",
        b"\0\0\x01\xba\x21",
        b"G" + bytes(187) + b"G" + bytes(187) + b"G",
        b"RIFF\0\x10\0\0WAVEfmt \x10\0\0\0\x09\xa1\1\0",
    ],
)
def test_a_head_with_nothing_behind_it(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + bytes(500))
    found, error = damage(path)
    assert len(found) == 0
    assert error.startswith(f"{path} ")


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    """A list of files that FFmpeg would follow is not sound."""
    secret = film(tmp_path / "secret.mp4", tone(24000), 24000, "mp4", "aac")
    listed = tmp_path / "list"
    for content in (f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n#EXTINF:1,\n{secret}\n"):
        listed.write_text(content)
        assert "is not audio" in damage(listed)[1]
