"""Mimi as a person uses it: at once, as a stream cut anywhere, saved and taken up again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import copy_demo
from support.speech import Array, hiss

from kyutai_onnx.models import Mimi, SpeechToText
from kyutai_onnx.models.mimi.stream import DecoderStream, EncoderStream
from kyutai_onnx.runtime.errors import ModelError, UsageError
from kyutai_onnx.runtime.state_file import read_state, write_state

CHUNKS = [1, 80, 777, 1920, 24000]


@pytest.fixture(scope="session")
def sound(pcm: Array) -> Array:
    """Speech and noise of no whole number of frames, more than two calls of a graph take."""
    return np.concatenate([pcm, hiss(4.5)])[: 24000 * 5 + 11]


@pytest.fixture(scope="session")
def codes(sound: Array, mimi: Mimi) -> Array:
    return mimi.encode(sound)


def pieces(items: Array, size: int) -> list[Array]:
    """Along the last axis."""
    return [items[..., start : start + size] for start in range(0, items.shape[-1], size)]


def encoded(stream: EncoderStream, sound: Array, size: int) -> Array:
    made = [stream.feed(piece) for piece in pieces(sound, size)]
    return np.concatenate([*made, stream.flush()], axis=1)


def decoded(stream: DecoderStream, codes: Array, size: int) -> Array:
    return np.concatenate([*map(stream.feed, pieces(codes, size)), stream.flush()])


def test_a_codec_reports_its_sizes(mimi: Mimi) -> None:
    codec = mimi.bundle.manifest.codec
    assert (mimi.sample_rate, mimi.frame_size, mimi.frame_rate) == (24000, 1920, 12.5)
    assert (mimi.codebooks, mimi.cardinality) == (codec.codebooks, codec.cardinality)


def test_codes_are_a_column_a_frame(mimi: Mimi, sound: Array, codes: Array) -> None:
    assert codes.dtype == np.int64
    assert codes.shape == (mimi.codebooks, -(-len(sound) // mimi.frame_size))
    assert codes.min() >= 0
    assert codes.max() < mimi.cardinality
    assert len(np.unique(codes[0])) > 3


@pytest.mark.parametrize("size", CHUNKS)
def test_chunks_of_any_size_give_the_same_codes(
    mimi: Mimi, sound: Array, codes: Array, size: int
) -> None:
    short = sound[:20_000] if size == 1 else sound
    expected = mimi.encode(short) if size == 1 else codes
    np.testing.assert_array_equal(encoded(mimi.stream("encode"), short, size), expected)


def test_flushing_fills_the_last_frame_with_silence(mimi: Mimi, sound: Array, codes: Array) -> None:
    assert len(sound) % mimi.frame_size != 0
    filled = np.pad(sound, (0, -len(sound) % mimi.frame_size))
    np.testing.assert_array_equal(mimi.encode(filled), codes)
    stream = mimi.stream("encode")
    whole = stream.feed(filled)
    np.testing.assert_array_equal(whole, codes)
    assert stream.flush().shape == (mimi.codebooks, 0)


def test_codes_come_as_soon_as_a_frame_is_whole(mimi: Mimi) -> None:
    stream = mimi.stream("encode")
    counts = [stream.feed(hiss(1)[:n]).shape[1] for n in (1919, 1, 1919, 0, 3841)]
    assert counts == [0, 1, 0, 0, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_codebooks_are_the_first_ones(
    mimi: Mimi, sound: Array, codes: Array, count: int
) -> None:
    np.testing.assert_array_equal(mimi.encode(sound, codebooks=count), codes[:count])
    assert mimi.stream("encode", count).feed(sound[:5]).shape == (count, 0)


@pytest.mark.parametrize("count", [-1, 0, 9999])
def test_codebooks_that_are_not_there_are_refused(mimi: Mimi, sound: Array, count: int) -> None:
    with pytest.raises(UsageError, match="codebooks"):
        mimi.encode(sound, codebooks=count)


@pytest.mark.parametrize("size", [1, 2, 7, 26, 1000])
def test_codes_in_pieces_of_any_size_give_the_same_samples(
    mimi: Mimi, codes: Array, size: int
) -> None:
    pcm = mimi.decode(codes)
    assert pcm.dtype == np.float32
    assert pcm.shape == (codes.shape[1] * mimi.frame_size,)
    np.testing.assert_allclose(decoded(mimi.stream("decode"), codes, size), pcm, atol=1e-5)


def test_more_codebooks_bring_the_sound_nearer(mimi: Mimi, codes: Array) -> None:
    full = mimi.decode(codes)
    far, near = (np.abs(mimi.decode(codes[:k]) - full).mean() for k in (1, len(codes) - 1))
    assert near < far


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((8, 2), -1),
        np.full((8, 2), 1 << 20),
        np.zeros((99, 2), np.int64),
        np.zeros((0, 2), np.int64),
        np.zeros(8, np.int64),
        np.zeros((8, 2, 1), np.int64),
        np.zeros((8, 2), np.float32),
    ],
)
def test_codes_that_are_none_are_refused(mimi: Mimi, wrong: Array) -> None:
    with pytest.raises(UsageError, match="expected"):
        mimi.decode(wrong)


def test_the_largest_code_is_taken(mimi: Mimi) -> None:
    codes = np.full((mimi.codebooks, 1), mimi.cardinality - 1)
    assert np.isfinite(mimi.decode(codes)).all()


@pytest.mark.parametrize(
    "wrong", [np.zeros(10), np.zeros((1, 10), np.float32), np.zeros(10, np.int16), [0.0] * 10]
)
def test_samples_that_are_none_are_refused(mimi: Mimi, wrong: Any) -> None:
    with pytest.raises(UsageError, match="float32"):
        mimi.stream("encode").feed(wrong)


def test_nothing_is_encoded_to_nothing(mimi: Mimi) -> None:
    assert mimi.encode(np.zeros(0, np.float32)).shape == (mimi.codebooks, 0)
    assert mimi.decode(np.zeros((mimi.codebooks, 0), np.int64)).shape == (0,)


def test_a_file_is_encoded_as_its_samples(mimi: Mimi, speech: Path, pcm: Array) -> None:
    np.testing.assert_array_equal(mimi.encode(speech), mimi.encode(pcm))


@pytest.mark.parametrize("cut", [0, 1, 1920, 30_001])
def test_a_saved_encoder_goes_on(
    mimi: Mimi, sound: Array, codes: Array, cut: int, tmp_path: Path
) -> None:
    first, second = mimi.stream("encode"), mimi.stream("encode")
    second.feed(hiss(1))
    begun = first.feed(sound[:cut])
    write_state(tmp_path / "state.npz", first.save())
    second.load(read_state(tmp_path / "state.npz"))
    rest = encoded(second, sound[cut:], 7777)
    np.testing.assert_array_equal(np.concatenate([begun, rest], axis=1), codes)


@pytest.mark.parametrize("cut", [0, 1, 17])
def test_a_saved_decoder_goes_on(mimi: Mimi, codes: Array, cut: int, tmp_path: Path) -> None:
    first, second = mimi.stream("decode"), mimi.stream("decode")
    second.feed(codes[:, :5])
    begun = first.feed(codes[:, :cut])
    write_state(tmp_path / "state.npz", first.save())
    second.load(read_state(tmp_path / "state.npz"))
    pcm = np.concatenate([begun, second.feed(codes[:, cut:])])
    np.testing.assert_allclose(pcm, mimi.decode(codes), atol=1e-5)


def test_a_stream_that_was_reset_is_a_new_one(mimi: Mimi, sound: Array, codes: Array) -> None:
    encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
    encoder.feed(sound[:12_345])
    decoder.feed(codes[:, :9])
    encoder.reset()
    decoder.reset()
    np.testing.assert_array_equal(encoded(encoder, sound, 24000), codes)
    np.testing.assert_allclose(decoder.feed(codes), mimi.decode(codes), atol=1e-5)


def test_streams_do_not_disturb_each_other(mimi: Mimi, sound: Array, codes: Array) -> None:
    one, other = mimi.stream("encode"), mimi.stream("encode")
    made = []
    for piece in pieces(sound, 4000):
        made.append(one.feed(piece))
        other.feed(-piece)
    np.testing.assert_array_equal(np.concatenate([*made, one.flush()], axis=1), codes)


def test_what_was_returned_does_not_change(mimi: Mimi, codes: Array, sound: Array) -> None:
    encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
    code, pcm = encoder.feed(sound[:1920]), decoder.feed(codes[:, :1])
    kept = code.copy(), pcm.copy()
    for start in (1920, 3840):
        encoder.feed(sound[start : start + 1920])
        decoder.feed(codes[:, start // 1920 : start // 1920 + 1])
    np.testing.assert_array_equal(code, kept[0])
    np.testing.assert_array_equal(pcm, kept[1])


def test_saved_streams_do_not_fit_others(mimi: Mimi, model: SpeechToText, tmp_path: Path) -> None:
    other = Mimi.load(
        copy_demo(tmp_path / "other", lambda m: m["source"].update(repository="another/one"))
    )
    saved = mimi.stream("encode").save()
    for stream in (mimi.stream("decode"), model.stream()):
        with pytest.raises(UsageError, match="a saved mimi-encoder stream"):
            stream.load(saved)
    with pytest.raises(UsageError, match="not from the weights"):
        other.stream("encode").load(saved)


def test_a_saved_stream_fits_a_copy_of_its_bundle(mimi: Mimi, sound: Array, tmp_path: Path) -> None:
    stream = mimi.stream("encode")
    stream.feed(sound[:10_000])
    copied = Mimi.load(copy_demo(tmp_path / "copy")).stream("encode")
    copied.load(stream.save())
    np.testing.assert_array_equal(copied.feed(sound[10_000:]), stream.feed(sound[10_000:]))


def test_a_bundle_without_a_decoder_says_how_to_get_one(tmp_path: Path, codes: Array) -> None:
    bundle = copy_demo(tmp_path / "bundle", lambda manifest: manifest["codec"].update(decoder=[]))
    with pytest.raises(UsageError, match="--decoder"):
        Mimi.load(bundle).decode(codes)


def test_a_bundle_that_is_missing_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        Mimi.load(tmp_path / "nowhere")
