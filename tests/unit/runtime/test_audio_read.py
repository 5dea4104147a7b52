"""Files of every container and rate become mono float32 blocks at the rate asked for."""

import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from kyutai_onnx.runtime.audio import AudioReader, Pcm, probe, read_audio
from kyutai_onnx.runtime.audio.stderr_filter import captured_stderr
from kyutai_onnx.runtime.errors import UsageError

ALL_RATES = (8000, 16000, 22050, 44100, 48000, 96000, 192000)
LOSSLESS = [
    ("wav", "PCM_U8"),
    ("wav", "PCM_16"),
    ("wav", "PCM_24"),
    ("wav", "PCM_32"),
    ("wav", "FLOAT"),
    ("wav", "DOUBLE"),
    ("wav", "ULAW"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("aiff", "PCM_16"),
    ("w64", "PCM_16"),
    ("caf", "PCM_16"),
    ("rf64", "PCM_16"),
]
CASES = [(*kind, rate) for kind in LOSSLESS for rate in ALL_RATES]
CASES += [("ogg", "VORBIS", rate) for rate in ALL_RATES]
CASES += [("ogg", "OPUS", rate) for rate in (8000, 16000, 48000)]
CASES += [("mp3", "MPEG_LAYER_III", rate) for rate in (8000, 16000, 22050, 44100, 48000)]


def tone(rate: int, seconds: float = 0.5, level: float = 0.4, hertz: float = 440) -> Pcm:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(
        np.float32
    )


def noise(shape: int | tuple[int, ...], seed: int = 0) -> Pcm:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def joined(blocks: AudioReader) -> Pcm:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def write_as(path: Path, samples: Pcm, rate: int, subtype: str) -> Path:
    container = {"w64": "W64", "rf64": "RF64"}.get(path.suffix[1:], path.suffix[1:].upper())
    soundfile.write(path, samples, rate, subtype, format=container)
    return path


@pytest.mark.parametrize(("extension", "subtype", "rate"), CASES)
def test_a_tone_keeps_its_frequency_and_level(
    tmp_path: Path, extension: str, subtype: str, rate: int
) -> None:
    path = write_as(tmp_path / f"tone.{extension}", tone(rate), rate, subtype)
    pcm = joined(read_audio(path, 24000))
    assert pcm.dtype == np.float32
    assert abs(len(pcm) - 12000) <= 1
    middle = pcm[2400:9600]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * 24000 / len(middle) - 440) < 24000 / len(middle)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("block_seconds", [0.001, 0.08, 0.33, 1.0, 100.0])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 192000])
def test_blocks_join_to_what_soxr_makes_of_the_whole(
    tmp_path: Path, rate: int, block_seconds: float
) -> None:
    samples = noise(rate // 2 + 17)
    path = write_as(tmp_path / "noise.wav", samples, rate, "FLOAT")
    pcm = joined(read_audio(path, 24000, block_seconds=block_seconds))
    expected = soxr.resample(samples, rate, 24000)
    assert len(pcm) == len(expected)
    np.testing.assert_allclose(pcm, expected, atol=1e-6)


@pytest.mark.parametrize(("extension", "subtype"), LOSSLESS)
@pytest.mark.parametrize("block_seconds", [0.0101, 1.0])
def test_samples_at_the_rate_asked_for_pass_bit_for_bit(
    tmp_path: Path, extension: str, subtype: str, block_seconds: float
) -> None:
    samples = np.concatenate([noise(24000), np.array([-1, 1, 0.99999994, 1e-9], np.float32)])
    path = write_as(tmp_path / f"noise.{extension}", samples, 24000, subtype)
    pcm = joined(read_audio(path, 24000, block_seconds=block_seconds))
    np.testing.assert_array_equal(pcm, soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
def test_lossy_blocks_do_not_depend_on_their_size(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"noise.{extension}"
    soundfile.write(path, noise(24000 * 3), 24000)
    whole = joined(read_audio(path, 24000, block_seconds=10))
    np.testing.assert_allclose(whole, soundfile.read(path, dtype="float32")[0], atol=1e-6)
    for block_seconds in (0.003, 0.08, 1):
        pcm = joined(read_audio(path, 24000, block_seconds=block_seconds))
        np.testing.assert_array_equal(pcm, whole)


def test_blocks_hold_no_more_than_asked_for(tmp_path: Path) -> None:
    path = write_as(tmp_path / "noise.flac", noise(24000), 24000, "PCM_16")
    assert [len(block) for block in read_audio(path, 24000, block_seconds=0.3)] == [
        7200,
        7200,
        7200,
        2400,
    ]


def test_mono_is_the_mean_of_all_channels_or_the_one_chosen_from_0(tmp_path: Path) -> None:
    samples = noise((3000, 3))
    path = write_as(tmp_path / "three.wav", samples, 24000, "FLOAT")
    np.testing.assert_allclose(joined(read_audio(path, 24000)), samples.mean(axis=1), atol=1e-7)
    for channel in range(3):
        pcm = joined(read_audio(path, 24000, channel=channel))
        np.testing.assert_array_equal(pcm, samples[:, channel])


@pytest.mark.parametrize(("channels", "channel"), [(1, 1), (2, 2), (8, -1)])
def test_a_channel_that_is_not_there_is_a_usage_error_with_their_number(
    tmp_path: Path, channels: int, channel: int
) -> None:
    path = write_as(tmp_path / "some.wav", noise((100, channels)), 24000, "PCM_16")
    with pytest.raises(UsageError, match=f"some.wav has {channels} channel.*no channel {channel}"):
        read_audio(path, 24000, channel=channel)


def test_eight_channels_at_192_khz_are_read(tmp_path: Path) -> None:
    samples = np.stack([tone(192000, level=0.1 * k) for k in range(8)], axis=1)
    path = write_as(tmp_path / "studio.wav", samples, 192000, "PCM_24")
    assert probe(path).channels == 8
    pcm = joined(read_audio(path, 24000))
    assert np.abs(pcm[2400:9600]).max() == pytest.approx(0.35, rel=0.01)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_a_file_of_one_sample_is_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"click.{extension}"
    soundfile.write(path, np.array([0.5], np.float32), 24000)
    assert len(joined(read_audio(path, 24000))) == 1


def test_samples_beyond_full_scale_are_kept(tmp_path: Path) -> None:
    samples = np.array([0, 1.5, -3, 100], np.float32)
    path = write_as(tmp_path / "loud.wav", samples, 24000, "FLOAT")
    np.testing.assert_array_equal(joined(read_audio(path, 24000)), samples)


def test_unicode_and_spaces_in_a_path_are_no_matter(tmp_path: Path) -> None:
    folder = tmp_path / "Réunion – été 日本"
    folder.mkdir()
    for name in ("à l'aube.flac", "été.mp3", "🎙.wav"):
        soundfile.write(folder / name, noise(2400), 24000)
        assert len(joined(read_audio(str(folder / name), 24000))) == 2400


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_a_file_object_is_read_from_its_start_and_left_open(extension: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, tone(44100), 44100, format=extension.upper())
    assert stream.tell() > 0
    pcm = joined(read_audio(stream, 24000))
    assert len(pcm) == 12000
    assert not stream.closed
    np.testing.assert_array_equal(joined(read_audio(stream, 24000)), pcm)


@pytest.mark.parametrize("source", [io.StringIO("text"), 3, None, np.zeros(3)])
def test_what_is_no_source_is_a_usage_error(source: object) -> None:
    with pytest.raises(UsageError, match="binary mode"):
        read_audio(source, 24000)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_below_1_is_a_usage_error(rate: int) -> None:
    with pytest.raises(UsageError, match="sample rate"):
        read_audio(io.BytesIO(), rate)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_block_length_that_is_none_is_a_usage_error(seconds: float) -> None:
    with pytest.raises(UsageError, match="longer than 0"):
        read_audio(io.BytesIO(), 24000, block_seconds=seconds)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_probe_reports_rate_channels_length_and_format(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"talk.{extension}"
    soundfile.write(path, noise((48000, 2)), 32000)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.frames) == (32000, 2, 48000)
    assert info.duration == 1.5
    assert info.format.startswith(extension.upper())
    assert read_audio(path, 24000).info == info


def test_a_flac_that_does_not_give_its_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_as(tmp_path / "stream.flac", noise(24000), 24000, "PCM_16")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 for unknown
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path).frames is None
    assert probe(path).duration is None
    assert len(joined(read_audio(path, 24000))) == 24000


def variable_rate_mp3(path: Path) -> tuple[bytes, int]:
    """An MP3 whose bit rate falls after its first seconds, and the size of its Xing frame."""
    samples = np.concatenate([noise(44100), np.zeros(44100 * 5, np.float32), tone(44100, 2)])
    with soundfile.SoundFile(
        path, "w", 44100, 1, "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(samples)
    data = path.read_bytes()
    assert data[21:25] == b"Xing"
    return data, data.index(data[:2], 4)


def test_a_variable_rate_mp3_without_a_length_header_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "radio.mp3"
    data, first = variable_rate_mp3(path)
    whole = joined(read_audio(path, 44100))
    path.write_bytes(data[first:])
    pcm = joined(read_audio(path, 44100))
    assert len(pcm) / 44100 == pytest.approx(8, abs=0.06)
    delay = int(np.argmax(np.correlate(pcm[:12000], whole[:9000])))
    np.testing.assert_allclose(pcm[delay + 9000 :][:340000], whole[9000:][:340000], atol=1e-3)


def test_joined_mp3_files_are_read_to_the_end_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "podcast.mp3"
    data, _ = variable_rate_mp3(path)
    tag = b"ID3\x04\0\0\0\0\x0f\x76" + bytes(0x7F6)
    path.write_bytes(tag + data + tag + data + b"TAG" + bytes(125))
    assert len(joined(read_audio(path, 24000))) / 24000 == pytest.approx(16, abs=0.15)


def test_the_libraries_leave_standard_error_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.mp3"
    data, first = variable_rate_mp3(path)
    path.write_bytes(data[: len(data) // 2] + bytes(40) + data[len(data) // 2 :])
    joined(read_audio(path, 24000))
    path.write_bytes(data[first : len(data) * 2 // 3])
    joined(read_audio(path, 24000))
    assert capfd.readouterr() == ("", "")


def test_what_others_say_on_standard_error_meanwhile_is_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with captured_stderr((b"Note: ", b"\n")):
        os.write(2, b"Note: Trying to resync...\nserver: a client\n\nNote: Skipped\n")
    assert capfd.readouterr().err == "server: a client\n"


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def riff(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def format_chunk(channels: int = 1, bits: int = 16, extra: bytes = b"", tag: int = 1) -> bytes:
    width = channels * bits // 8
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", tag, channels, 24000, 24000 * width, width, bits) + extra
    )


SAMPLES = np.arange(-500, 500, dtype="<i2")
EXTENSIBLE = struct.pack("<HHIH", 22, 16, 4, 1) + bytes.fromhex("000000001000800000AA00389B71")
WAVS = {
    "chunks before and after": riff(
        chunk(b"JUNK", bytes(28)),
        format_chunk(),
        chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0"),
        chunk(b"data", SAMPLES.tobytes()),
        chunk(b"id3 ", bytes(range(200))),
    ),
    "extensible": riff(
        format_chunk(extra=EXTENSIBLE, tag=0xFFFE), chunk(b"data", SAMPLES.tobytes())
    ),
    "sizes of 0, as a killed recorder leaves": riff(
        format_chunk(), b"data" + bytes(4) + SAMPLES.tobytes()
    ),
    "sizes of 0xFFFFFFFF, as ffmpeg writes to a pipe": b"RIFF\xff\xff\xff\xffWAVE"
    + format_chunk()
    + b"data\xff\xff\xff\xff"
    + SAMPLES.tobytes(),
    "about 2 GiB, as sox and arecord write to a pipe": b"RIFF\x24\xf0\xff\x7fWAVE"
    + format_chunk()
    + b"data\x00\xf0\xff\x7f"
    + SAMPLES.tobytes(),
    "a size that is too small": riff(
        format_chunk(), b"data" + struct.pack("<I", 480) + SAMPLES.tobytes()
    ),
    "half a frame at the end": riff(format_chunk(), chunk(b"data", SAMPLES.tobytes() + b"\x01")),
}
WAVS["sizes of 0, as a killed recorder leaves"] = (
    b"RIFF" + bytes(4) + WAVS["sizes of 0, as a killed recorder leaves"][8:]
)


@pytest.mark.parametrize("data", WAVS.values(), ids=WAVS.keys())
def test_wav_headers_of_every_habit_give_the_same_samples(data: bytes) -> None:
    pcm = joined(read_audio(io.BytesIO(data), 24000))
    np.testing.assert_array_equal(pcm, SAMPLES.astype(np.float32) / 32768)


class LongWav(io.RawIOBase):
    """An hour of 16-bit sound at 24 kHz that is never in memory at once."""

    HEADER = b"RIFF\xff\xff\xff\xffWAVE" + format_chunk() + b"data\xff\xff\xff\xff"
    SIZE = len(HEADER) + 24000 * 2 * 3600

    def __init__(self, *, seekable: bool) -> None:
        self._position = 0
        self._seekable = seekable

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self.SIZE)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = min(self._position + size, self.SIZE)
        head = self.HEADER[self._position : end]
        body = bytes(max(end - max(self._position, len(self.HEADER)), 0))
        self._position = end
        return head + body


@pytest.mark.parametrize("seekable", [True, False])
def test_an_hour_is_read_in_constant_memory(seekable: bool) -> None:
    blocks = read_audio(LongWav(seekable=seekable), 16000)  # type: ignore[arg-type]
    next(blocks)
    tracemalloc.start()
    total = sum(len(block) for block in blocks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == pytest.approx(3599 * 16000, abs=16000)
    assert peak < 4e6


def test_a_reader_closes_its_file_at_the_end_or_on_request(tmp_path: Path) -> None:
    path = write_as(tmp_path / "noise.wav", noise(48000), 24000, "PCM_16")
    with read_audio(path, 24000) as blocks:
        next(blocks)
    assert list(blocks) == []
    path.unlink()  # fails on Windows while it is open
