"""`codec encode` and `codec decode`: audio to codes and back, by files and pipes."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.bundles import copy_demo
from support.commands import Command
from support.npz import arrays
from support.speech import Array, hiss, wav_bytes, write_wav

from kyutai_onnx.cli.main import run
from kyutai_onnx.models import Mimi


@pytest.fixture
def codes(command: Command, speech: Path, tmp_path: Path) -> Path:
    path = tmp_path / "codes.npz"
    done = command("codec", "encode", speech, path)
    assert (done.code, done.out) == (0, "")
    return path


def write_codes(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def test_codes_are_those_of_the_model(codes: Path, pcm: Array, mimi: Mimi) -> None:
    content = arrays(codes)
    assert content["codes"].dtype == np.int64
    np.testing.assert_array_equal(content["codes"], mimi.encode(pcm))
    assert content["samples"] == len(pcm)


def test_audio_comes_back_as_long_as_it_was(
    command: Command, pcm: Array, mimi: Mimi, tmp_path: Path
) -> None:
    long = np.concatenate([pcm, hiss(2.01), pcm])
    there, codes, back = (tmp_path / name for name in ("there.wav", "codes.npz", "back.wav"))
    assert command("codec", "encode", write_wav(there, long), codes).code == 0
    assert command("codec", "decode", codes, back).code == 0
    samples, rate = soundfile.read(back, dtype="float32")
    assert rate == mimi.sample_rate
    expected = np.clip(mimi.decode(mimi.encode(there))[: len(long)], -1, 1)
    assert len(samples) == len(long)
    np.testing.assert_allclose(samples, expected, atol=2**-15)


def test_fewer_codebooks_are_the_first_ones(
    command: Command, codes: Path, speech: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.npz"
    assert command("codec", "encode", speech, few, "--codebooks", 3).code == 0
    np.testing.assert_array_equal(arrays(few)["codes"], arrays(codes)["codes"][:3])
    assert command("codec", "decode", few, tmp_path / "few.wav").code == 0


@pytest.mark.parametrize("count", [0, 999])
def test_codebooks_that_are_not_there_are_refused(
    command: Command, speech: Path, tmp_path: Path, count: int
) -> None:
    done = command("codec", "encode", speech, tmp_path / "x.npz", "--codebooks", count, "-q")
    assert done.code == 2
    assert "codebooks" in done.error
    assert not (tmp_path / "x.npz").exists()


def test_a_channel_is_picked(command: Command, codes: Path, pcm: Array, tmp_path: Path) -> None:
    both = write_wav(tmp_path / "both.wav", np.stack([-pcm / 2, pcm], axis=1))
    assert command("codec", "encode", both, tmp_path / "1.npz", "--channel", 1).code == 0
    np.testing.assert_array_equal(arrays(tmp_path / "1.npz")["codes"], arrays(codes)["codes"])


def test_codes_are_dumped_both_ways(
    command: Command, codes: Path, speech: Path, tmp_path: Path
) -> None:
    dumps = tmp_path / "encoded.npz", tmp_path / "decoded.npz"
    command("codec", "encode", speech, tmp_path / "x.npz", "--dump-tokens", dumps[0])
    command("codec", "decode", codes, tmp_path / "x.wav", "--dump-tokens", dumps[1])
    for dump in map(arrays, dumps):
        np.testing.assert_array_equal(dump["codes"], arrays(codes)["codes"])
        assert dump["text"].size == dump["audio"].size == 0


def test_a_dash_is_a_pipe_at_both_ends(
    pcm: Array,
    mimi: Mimi,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def piped(content: bytes, *arguments: str) -> bytes:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        assert run(["codec", *arguments]) == 0
        return capsysbinary.readouterr().out

    encoded = piped(wav_bytes(pcm), "encode", "-", "-")
    np.testing.assert_array_equal(arrays(io.BytesIO(encoded))["codes"], mimi.encode(pcm))
    samples, _ = soundfile.read(io.BytesIO(piped(encoded, "decode", "-", "-")))
    assert len(samples) == len(pcm)


def test_codes_of_audio_that_breaks_off_are_kept(
    command: Command, pcm: Array, mimi: Mimi, tmp_path: Path
) -> None:
    broken = pcm.copy()
    broken[-100] = np.nan
    path = write_wav(tmp_path / "broken.wav", broken, subtype="FLOAT")
    done = command("codec", "encode", path, tmp_path / "codes.npz", "-q")
    assert done.code == 4
    assert "NaN" in done.error
    expected = mimi.encode(pcm[:-100])
    np.testing.assert_array_equal(arrays(tmp_path / "codes.npz")["codes"], expected)


def as_text(path: Path) -> Path:
    path.write_text("no codes at all")
    return path


def as_empty(path: Path) -> Path:
    path.touch()
    return path


def as_bare_array(path: Path) -> Path:
    with path.open("wb") as file:
        np.save(file, np.zeros((8, 3), np.int64))
    return path


def as_other_arrays(path: Path) -> Path:
    return write_codes(path, audio=np.zeros((8, 3), np.int64))


def as_objects(path: Path) -> Path:
    return write_codes(path, codes=np.array([[{}]]))


def as_odd_length(path: Path) -> Path:
    return write_codes(path, codes=np.zeros((8, 3), np.int64), samples=np.zeros(3))


def as_infinite_length(path: Path) -> Path:
    return write_codes(path, codes=np.zeros((8, 3), np.int64), samples=np.inf)


def as_negative_length(path: Path) -> Path:
    return write_codes(path, codes=np.zeros((8, 3), np.int64), samples=-1)


def as_broken_compression(path: Path) -> Path:
    np.savez_compressed(path, codes=np.zeros((8, 3), np.int64))
    content = bytearray(path.read_bytes())
    content[60:64] = b"\xff" * 4
    path.write_bytes(content)
    return path


def as_nothing(path: Path) -> Path:
    return path


def as_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "make",
    [
        as_text,
        as_empty,
        as_bare_array,
        as_other_arrays,
        as_objects,
        as_odd_length,
        as_infinite_length,
        as_negative_length,
        as_broken_compression,
        as_nothing,
        as_folder,
    ],
)
def test_a_file_that_holds_no_codes_is_refused(command: Command, tmp_path: Path, make) -> None:
    path = make(tmp_path / "codes.npz")
    done = command("codec", "decode", path, tmp_path / "out.wav", "-q")
    assert (done.code, done.out) == (4, "")
    assert str(path) in done.error
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        (np.zeros((8, 3)), "integers expected"),
        (np.zeros(8, np.int64), "shape"),
        (np.zeros((99, 3), np.int64), "shape"),
        (np.full((8, 3), -1), "0 to"),
        (np.full((8, 3), 1 << 20), "0 to"),
    ],
)
def test_codes_of_another_codec_are_refused(
    command: Command, tmp_path: Path, codes: Array, cause: str
) -> None:
    path = write_codes(tmp_path / "codes.npz", codes=codes)
    done = command("codec", "decode", path, tmp_path / "out.wav", "-q")
    assert done.code == 2
    assert cause in done.error
    assert not (tmp_path / "out.wav").exists()


def test_a_bundle_without_a_decoder_says_how_to_get_one(
    command: Command, codes: Path, tmp_path: Path
) -> None:
    bundle = copy_demo(tmp_path / "bundle", lambda m: m["codec"].update(decoder=[]))
    done = command("codec", "decode", codes, tmp_path / "out.wav", "--model", bundle)
    assert done.code == 2
    assert "--decoder" in done.error


def test_no_codes_are_no_sound(command: Command, tmp_path: Path) -> None:
    path = write_codes(tmp_path / "codes.npz", codes=np.zeros((1, 0), np.int64), samples=0)
    assert command("codec", "decode", path, tmp_path / "out.wav").code == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 0
