"""What cannot be read says so in one line that names the file, the cause and the next step."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kyutai_onnx.runtime.audio import AudioReader, Pcm, probe, read_audio
from kyutai_onnx.runtime.errors import AudioError


def noise(count: int) -> Pcm:
    return (0.1 * np.random.default_rng(2).standard_normal(count)).astype(np.float32)


def read_until_error(reader: AudioReader) -> tuple[Pcm, AudioError]:
    blocks: list[Pcm] = []
    with pytest.raises(AudioError) as caught:
        blocks.extend(reader)
    return np.concatenate([np.zeros(0, np.float32), *blocks]), caught.value


def failure(source: Path) -> str:
    with pytest.raises(AudioError) as caught:
        probe(source)
    assert caught.value.exit_code == 4
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(source.parent), "DIR")


def test_a_missing_file(tmp_path: Path) -> None:
    message = "cannot read DIR/no.wav: there is no such file; check the path"
    assert failure(tmp_path / "no.wav") == message


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir()
    message = "cannot read DIR/takes: it is a folder; name an audio file in it"
    assert failure(tmp_path / "takes") == message


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.wav").touch()
    monkeypatch.setattr(Path, "open", refuse)
    message = "cannot read DIR/secret.wav: permission denied; change its access rights"
    assert failure(tmp_path / "secret.wav") == message


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.flac").touch()
    message = "DIR/empty.flac is empty (0 bytes): record or copy it again"
    assert failure(tmp_path / "empty.flac") == message


@pytest.mark.parametrize("extension", ["wav", "ogg", "aiff"])
def test_a_header_without_samples(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"none.{extension}"
    soundfile.write(path, noise(0), 24000)
    assert probe(path).frames == 0
    pcm, error = read_until_error(read_audio(path, 24000))
    assert len(pcm) == 0
    assert str(error).startswith(f"{path} holds no samples: ")


@pytest.mark.parametrize("name", ["notes.wav", "notes.mp3", "notes.txt"])
def test_a_text_file(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text("Dear diary, nothing was recorded today.\n" * 40)
    target = "notes-converted.wav" if name == "notes.wav" else "notes.wav"
    message = failure(path)
    assert message.startswith(f"DIR/{name} is not audio ")
    assert message.endswith(f"convert it: ffmpeg -i DIR/{name} -ar 24000 -ac 1 DIR/{target}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"#!AMR_MC1.0\n", "AMR of many channels"),
        (b"ADIF\0\0", "AAC"),
        (b"MAC \x96\x0f", "Monkey's Audio"),
    ],
)
def test_a_container_that_is_not_read_here(tmp_path: Path, head: bytes, kind: str) -> None:
    path = tmp_path / "my talk.m4a"
    path.write_bytes(head + bytes(500))
    command = "ffmpeg -i 'DIR/my talk.m4a' -ar 24000 -ac 1 'DIR/my talk.wav'"
    message = failure(path)
    assert message.startswith(f"DIR/my talk.m4a is {kind}, ")
    assert message.endswith(f": {command}")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "MP4/M4A"),
        (b"\x1aE\xdf\xa3\x9f\x42\x86\x81", "Matroska/WebM"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA/ASF"),
        (b"\xff\xf1\x50\x80\x2e\x7f\xfc", "AAC"),
        (b"RIFF\0\x10\0\0AVI LIST", "AVI video"),
    ],
)
def test_a_container_whose_reader_is_not_installed(
    tmp_path: Path, head: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "kyutai_onnx.runtime.audio.files.media", raising=False)
    path = tmp_path / "talk"
    path.write_bytes(head + bytes(500))
    message = failure(path)
    assert message.startswith(f"DIR/talk is {kind}: ")
    assert "'pip install \"kyutai-onnx[media]\"'" in message
    assert message.endswith(": ffmpeg -i DIR/talk -ar 24000 -ac 1 DIR/talk.wav")


@pytest.mark.parametrize("size", range(12, 60, 3))
@pytest.mark.parametrize("kind", [b"RF64", b"RIFF"])
def test_a_header_that_ends_early(tmp_path: Path, kind: bytes, size: int) -> None:
    chunks = b"ds64\x1c\0\0\0" + bytes(28) + b"fmt \x10\0\0\0\1\0\1\0\x80\xbb\0\0"
    path = tmp_path / "cut.wav"
    path.write_bytes((kind + b"\xff\xff\xff\xffWAVE" + chunks)[:size])
    with pytest.raises(AudioError):
        read_audio(path, 24000)


def test_an_implausible_sample_rate(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise(100), 24000)
    data = bytearray(path.read_bytes())
    data[24:28] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    message = failure(path)
    assert message.startswith("DIR/odd.wav ")
    assert " 4000000000 Hz: " in message


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def overwritten(data: bytes) -> bytes:
    half = len(data) // 2
    junk = np.random.default_rng(3).integers(0, 256, 3000, np.uint8).tobytes()
    return data[:half] + junk + data[half + len(junk) :]


@pytest.mark.parametrize(
    ("extension", "subtype", "damage", "message"),
    [
        ("wav", "PCM_16", cut, "is cut short "),
        ("wav", "PCM_24", cut, "is cut short "),
        ("wav", "ULAW", cut, "is cut short "),
        ("aiff", "PCM_16", cut, "is cut short "),
        ("flac", "PCM_16", cut, "is damaged at"),
        ("ogg", "VORBIS", cut, "ends at"),
        ("ogg", "OPUS", cut, "ends at"),
        ("mp3", None, cut, "damaged: 3."),
        ("flac", "PCM_16", overwritten, "is damaged at"),
        ("ogg", "VORBIS", overwritten, "is cut short "),
        ("mp3", None, overwritten, "damaged"),
    ],
)
def test_damage_in_the_middle_comes_after_all_that_can_be_read(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    extension: str,
    subtype: str | None,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    path = tmp_path / f"talk.{extension}"
    soundfile.write(path, noise(24000 * 6), 24000, subtype)
    intact = np.concatenate(list(read_audio(path, 24000)))
    path.write_bytes(damage(path.read_bytes()))
    pcm, error = read_until_error(read_audio(path, 24000))
    assert len(pcm) > 24000 * 2.4
    np.testing.assert_allclose(pcm[: 24000 * 2], intact[: 24000 * 2], atol=1e-6)
    assert str(error).startswith(str(path))
    assert message in str(error)
    assert str(error).endswith("download it again")
    assert f"{len(pcm) / 24000:.3f} s" in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -3e38])
@pytest.mark.parametrize("target", [16000, 24000])
def test_a_sample_that_is_no_number_comes_after_those_before_it(
    tmp_path: Path, bad: float, target: int
) -> None:
    samples = np.stack([noise(40000), noise(40000)], axis=1)
    samples[30000, 1] = bad
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 16000, "FLOAT")
    pcm, error = read_until_error(read_audio(path, target))
    assert len(pcm) == 30000 * target // 16000
    assert str(error).startswith(f"{path} has a sample ")
    assert " 1.875 s" in str(error)
    assert len(np.concatenate(list(read_audio(path, target, channel=0)))) == 40000 * target // 16000


class FailingDisk(io.BytesIO):
    """A file that cannot be read past its middle."""

    name = "worn.flac"

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > len(self.getvalue()) // 2:
            raise OSError(5, "Input/output error")
        return super().read(size)

    read1 = read


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_a_disk_that_fails_on_the_way_is_an_audio_error(
    container: str, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = FailingDisk()
    soundfile.write(disk, noise(240000), 24000, format=container)
    pcm, error = read_until_error(read_audio(disk, 24000))
    assert len(pcm) >= 24000
    assert str(error).startswith("cannot read worn.flac: Input/output error")
    assert capfd.readouterr() == ("", "")
