"""Blocks become a file by its extension, valid however the writing ends."""

import io
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from kyutai_onnx.runtime.audio import AudioWriter, Pcm, read_audio
from kyutai_onnx.runtime.errors import AudioError, UsageError


def noise(shape: int | tuple[int, ...]) -> Pcm:
    return (0.1 * np.random.default_rng(4).standard_normal(shape)).astype(np.float32)


def tone(count: int) -> Pcm:
    return (0.5 * np.sin(np.arange(count) / 9)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "kept"),
    [
        ("a.wav", None, "PCM_16"),
        ("a.WAV", "PCM_24", "PCM_24"),
        ("a.wav", "PCM_32", "PCM_32"),
        ("a.wav", "PCM_U8", "PCM_U8"),
        ("a.wav", "FLOAT", "FLOAT"),
        ("a.wav", "DOUBLE", "DOUBLE"),
        ("a.wav", "ULAW", "ULAW"),
        ("a.flac", None, "PCM_16"),
        ("a.flac", "PCM_24", "PCM_24"),
        ("a.ogg", None, "VORBIS"),
        ("a.opus", None, "OPUS"),
        ("a.mp3", None, "MPEG_LAYER_III"),
    ],
)
def test_the_extension_names_the_format(
    tmp_path: Path, name: str, subtype: str | None, kept: str
) -> None:
    samples = tone(24000)
    with AudioWriter(tmp_path / name, 24000, subtype=subtype) as writer:
        for at in range(0, 24000, 1920):
            writer.write(samples[at : at + 1920])
        assert writer.frames == 24000
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.frames) == (24000, 1, 24000)
    assert info.subtype == kept
    pcm, _ = soundfile.read(tmp_path / name, dtype="float32")
    np.testing.assert_allclose(pcm[4000:20000], samples[4000:20000], atol=0.05)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_16_bit_samples_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    samples = np.arange(-32768, 32768, 3, dtype=np.float32) / np.float32(32768)
    with AudioWriter(str(tmp_path / name), 24000) as writer:
        writer.write(samples)
    with read_audio(tmp_path / name, 24000) as blocks:
        np.testing.assert_array_equal(np.concatenate(list(blocks)), samples)


@pytest.mark.parametrize(
    ("subtype", "expected"),
    [
        ("PCM_16", [1 - 2**-15, -1, 0.5]),
        ("PCM_24", [1 - 2**-23, -1, 0.5]),
        ("FLOAT", [7, -7, 0.5]),
    ],
)
def test_values_are_clipped_only_on_their_way_to_integers(
    tmp_path: Path, subtype: str, expected: list[float]
) -> None:
    for name in ("a.wav", "a.flac") if subtype != "FLOAT" else ("a.wav",):
        with AudioWriter(tmp_path / name, 24000, subtype=subtype) as writer:
            writer.write(np.array([7, -7, 0.5], np.float32))
        pcm, _ = soundfile.read(tmp_path / name, dtype="float32")
        np.testing.assert_array_equal(pcm, np.array(expected, np.float32))


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_several_channels_are_written_as_they_stand(tmp_path: Path, name: str) -> None:
    samples = noise((5000, 2))
    with AudioWriter(tmp_path / name, 44100, 2) as writer:
        writer.write(samples[:1001])
        writer.write(np.asfortranarray(samples[1001:]))
    pcm, rate = soundfile.read(tmp_path / name, dtype="float32")
    assert rate == 44100
    np.testing.assert_allclose(pcm, samples, atol=2**-15)


def test_a_wav_has_a_header_that_strict_readers_take(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", 24000, subtype="PCM_U8") as writer:
        writer.write(tone(1001))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 1, 24000, 1001)
    size = (tmp_path / "a.wav").stat().st_size
    assert size == 44 + 1001 + 1
    assert int.from_bytes((tmp_path / "a.wav").read_bytes()[4:8], "little") == size - 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
def test_what_was_written_before_an_interrupt_is_a_valid_file(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    def speak() -> None:
        with AudioWriter(tmp_path / name, 24000) as writer:
            writer.write(tone(12000))
            raise error

    with pytest.raises(error):
        speak()
    assert soundfile.info(tmp_path / name).frames == 12000
    assert sum(len(block) for block in read_audio(tmp_path / name, 24000)) == 12000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
def test_a_file_without_samples_is_still_valid(tmp_path: Path, name: str) -> None:
    with AudioWriter(tmp_path / name, 24000) as writer:
        writer.write(noise(0))
    assert soundfile.info(tmp_path / name).frames == (0 if name == "a.wav" else 1)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_wav_left_by_a_killed_program_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    code = (
        "import os, sys, numpy\n"
        "from kyutai_onnx.runtime.audio import AudioWriter\n"
        "with AudioWriter(sys.argv[1], 24000) as writer:\n"
        "    for _ in range(10): writer.write(numpy.zeros(24000, numpy.float32))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = tmp_path.iterdir()
    assert part.name.startswith("a.wav.")
    assert sum(len(block) for block in read_audio(part, 24000)) > 9 * 24000


def test_a_sample_that_is_no_number_ends_the_file_before_it(tmp_path: Path) -> None:
    samples = noise(4800)
    samples[2400] = np.nan
    with (
        pytest.raises(AudioError, match=r"a\.wav ends at 0\.100 s: .*NaN"),
        AudioWriter(tmp_path / "a.wav", 24000) as writer,
    ):
        writer.write(samples)
    assert soundfile.info(tmp_path / "a.wav").frames == 2400


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(5), np.zeros(5, np.int16), np.zeros((5, 2), np.float32), [0.1], np.float32(1)],
)
def test_other_samples_are_a_usage_error(tmp_path: Path, wrong: object) -> None:
    with AudioWriter(tmp_path / "a.wav", 24000) as writer, pytest.raises(UsageError, match="must"):
        writer.write(wrong)  # type: ignore[arg-type]


def test_a_closed_writer_is_a_usage_error(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", 24000)
    writer.close()
    writer.close()
    with pytest.raises(UsageError, match=r"a\.wav is closed"):
        writer.write(noise(1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("talk.xyz", "extension '.xyz' "),
        ("talk", "no extension"),
        ("missing/talk.wav", "there is no folder DIR/missing; make it first"),
        ("missing/talk.flac", "there is no folder DIR/missing; make it first"),
        ("folder.wav", "it is a folder"),
        ("folder.ogg", "it is a folder"),
    ],
)
def test_a_target_that_cannot_be_is_an_audio_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "folder.ogg").mkdir()
    with pytest.raises(AudioError) as caught:
        AudioWriter(tmp_path / name, 24000)
    said = str(caught.value).replace(str(tmp_path), "DIR")
    assert said.startswith(f"cannot write DIR/{name}: {message}")
    assert "\n" not in said


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_read_only_folder_is_an_audio_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AudioError, match="permission denied"):
        AudioWriter(tmp_path / name, 24000)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype", "message"),
    [
        ("a.ogg", 24000, 1, "PCM_16", "OGG cannot hold PCM_16: it can hold .*VORBIS"),
        ("a.wav", 24000, 1, "FLAOT", "WAV cannot hold FLAOT"),
        ("a.opus", 22050, 1, None, "OGG OPUS cannot hold 1 channel\\(s\\) at 22050 Hz"),
        ("a.mp3", 96000, 1, None, "MP3 MPEG_LAYER_III cannot hold 1 channel\\(s\\) at 96000 Hz"),
        ("a.flac", 24000, 9, None, "FLAC PCM_16 cannot hold 9 channel\\(s\\) at 24000 Hz"),
        ("a.wav", 0, 1, None, "1 channel\\(s\\) at 0 Hz cannot be written"),
        ("-", 24000, 1, "VORBIS", r"WAV stream .* VORBIS"),
    ],
)
def test_what_a_format_cannot_hold_is_a_usage_error_that_touches_no_file(
    tmp_path: Path, name: str, rate: int, channels: int, subtype: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        AudioWriter(name if name == "-" else tmp_path / name, rate, channels, subtype)
    assert not (tmp_path / name).exists()


FILL = """
import resource, signal, sys, numpy
from kyutai_onnx.runtime.audio import AudioWriter
from kyutai_onnx.runtime.errors import AudioError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for path in sys.argv[1:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (60000, resource.RLIM_INFINITY))
    try:
        with AudioWriter(path, 24000) as writer:
            for seed in range(30):
                noise = numpy.random.default_rng(seed).standard_normal(24000)
                writer.write((0.1 * noise).astype(numpy.float32))
    except AudioError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the file size by POSIX means")
def test_a_full_disk_is_one_line_and_leaves_what_was_written(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.wav", "a.flac", "a.ogg")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILL, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    wav, flac, ogg = done.stdout.splitlines()
    assert wav.startswith(f"cannot write {paths[0]}: File too large; ")
    assert flac.startswith(f"cannot write {paths[1]}: System error; ")
    assert ogg.startswith(f"cannot write {paths[2]}: System error; ")
    assert soundfile.info(paths[0]).frames >= 24000


def test_a_file_object_gets_wav_where_it_stands_and_stays_open() -> None:
    stream = io.BytesIO(b"head")
    stream.seek(4)
    with AudioWriter(stream, 16000) as writer:
        writer.write(tone(100))
    assert stream.tell() == 4 + 44 + 200
    pcm, rate = soundfile.read(io.BytesIO(stream.getvalue()[4:]), dtype="float32")
    assert (len(pcm), rate) == (100, 16000)


def test_raw_pcm_has_no_header_whatever_the_extension(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.pcm", 24000, raw="s16le") as writer:
        writer.write(np.array([0, 0.5, -1, 2], np.float32))
    assert (tmp_path / "a.pcm").read_bytes() == np.array([0, 16384, -32768, 32767], "<i2").tobytes()
    with pytest.raises(UsageError, match="raw s16le has no subtype"):
        AudioWriter("-", 24000, subtype="FLOAT", raw="s16le")
    with pytest.raises(UsageError, match="unknown raw encoding 'mp3'"):
        AudioWriter("-", 24000, raw="mp3")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_standard_output_in_a_file_is_valid_and_its_sizes_true_unless_it_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = tmp_path / "out"
    with path.open(mode) as stream:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stream, flush=stream.flush))
        with AudioWriter("-", 24000) as writer:
            writer.write(tone(50))
            assert path.stat().st_size == 144
    data = path.read_bytes()
    assert len(data) == 144
    assert data[40:44] == ((100).to_bytes(4, "little") if mode == "wb" else b"\xff" * 4)


def test_a_terminal_or_no_standard_output_is_an_audio_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=terminal))
    with pytest.raises(AudioError, match="terminal: redirect it"):
        AudioWriter("-", 24000)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(AudioError, match="no standard output"):
        AudioWriter("-", 24000)


@pytest.mark.skipif(not hasattr(os, "O_APPEND") or sys.platform == "win32", reason="POSIX pipes")
def test_a_pipe_gets_every_block_at_once() -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb", buffering=0) as reader, os.fdopen(into, "wb") as stream:
        with AudioWriter(stream, 24000) as writer:
            assert reader.read(1000)[:4] == b"RIFF"
            writer.write(tone(300))
            assert len(reader.read(1000)) == 600
        assert not stream.closed
