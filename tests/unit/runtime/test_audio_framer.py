"""Samples that arrive in pieces of any size leave in frames of one size, or at another rate."""

import numpy as np
import pytest
import soxr

from kyutai_onnx.runtime.audio import Framer, Pcm, Resampler
from kyutai_onnx.runtime.errors import UsageError


def ramp(count: int) -> Pcm:
    return np.arange(count, dtype=np.float32)


@pytest.mark.parametrize("piece", [1, 7, 1919, 1920, 1921, 5000, 20000])
def test_frames_hold_the_samples_in_order_whatever_the_pieces(piece: int) -> None:
    framer, samples = Framer(1920), ramp(10000)
    pieces = [framer.push(samples[at : at + piece]) for at in range(0, 10000, piece)]
    frames = np.concatenate(pieces)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, samples[:9600].reshape(5, 1920))
    assert framer.pending == 400


def test_pieces_of_0_samples_change_nothing() -> None:
    framer = Framer(4)
    assert framer.push(ramp(0)).shape == (0, 4)
    framer.push(ramp(3))
    assert framer.push(ramp(0)).shape == (0, 4)
    assert framer.pending == 3


def test_flush_pads_the_last_frame_with_zeros_and_restarts() -> None:
    framer = Framer(4)
    framer.push(ramp(4) + 1)
    framer.push(np.array([8, 9], np.float32))
    np.testing.assert_array_equal(framer.flush(pad=True), [[8, 9, 0, 0]])
    assert framer.pending == 0
    assert framer.flush(pad=True).shape == (0, 4)


def test_flush_without_padding_drops_what_waits() -> None:
    framer = Framer(4)
    framer.push(ramp(3))
    assert framer.flush(pad=False).shape == (0, 4)
    np.testing.assert_array_equal(framer.push(ramp(4)), [[0, 1, 2, 3]])


def test_frames_do_not_change_when_the_caller_reuses_its_buffer() -> None:
    framer, buffer = Framer(4), ramp(6)
    first = framer.push(buffer)
    buffer[:] = -1
    np.testing.assert_array_equal(first, [[0, 1, 2, 3]])
    np.testing.assert_array_equal(framer.push(buffer[:2]), [[4, 5, -1, -1]])


def test_a_view_with_strides_is_taken_as_it_reads() -> None:
    np.testing.assert_array_equal(Framer(3).push(ramp(12)[::2]), [[0, 2, 4], [6, 8, 10]])


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(4), np.zeros(4, np.int16), np.zeros((1, 4), np.float32), [0.0], None, b"1234"],
)
def test_anything_but_float32_samples_is_a_usage_error(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"float32 .*\[n\]"):
        Framer(4).push(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"float32 .*\[n\]"):
        Resampler(24000, 48000).push(wrong)  # type: ignore[arg-type]


def test_a_frame_has_at_least_one_sample() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Framer(0)


@pytest.mark.parametrize(("source", "target"), [(24000, 48000), (44100, 24000), (16000, 24000)])
def test_resampled_pieces_join_to_the_whole_and_a_flush_restarts(source: int, target: int) -> None:
    samples = np.sin(ramp(20011) / 7)
    expected = soxr.resample(samples, source, target)
    resampler = Resampler(source, target)
    for piece in (333, 4096):
        pieces = [resampler.push(samples[at : at + piece]) for at in range(0, 20011, piece)]
        np.testing.assert_allclose(
            np.concatenate([*pieces, resampler.flush()]), expected, atol=1e-6
        )


def test_between_equal_rates_nothing_is_touched_or_delayed() -> None:
    resampler, samples = Resampler(24000, 24000), ramp(5)
    assert resampler.push(samples) is samples
    assert len(resampler.flush()) == 0
