"""Recordings whose levels are odd: floats in the range of integers, channels that cancel."""

import io
import logging

import numpy as np
import pytest
import soundfile
from support.recordings import tone

from kyutai_onnx.runtime.audio import Pcm, audio_blocks, read_audio
from kyutai_onnx.runtime.errors import AudioError

RATE = 16000
BLOCKS = [0.003, 0.08, 1.0, 100.0]


def wav(samples: Pcm, subtype: str = "FLOAT") -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype, format="WAV")
    return file


def read(source: io.BytesIO, block_seconds: float = 1.0, channel: int | None = None) -> Pcm:
    blocks = list(read_audio(source, RATE, channel=channel, block_seconds=block_seconds))
    assert max(map(len, blocks)) <= max(int(RATE * block_seconds), 1)
    return np.concatenate(blocks)


def noise(seconds: float, level: float) -> Pcm:
    drawn = np.random.default_rng(0).standard_normal(round(RATE * seconds))
    return (level * drawn).astype(np.float32)


@pytest.mark.parametrize("block_seconds", BLOCKS)
@pytest.mark.parametrize("full", [2**15, 2**23, 2**31])
@pytest.mark.parametrize("quiet_seconds", [0.0, 3.0])
def test_floats_as_large_as_integers_are_scaled(
    caplog: pytest.LogCaptureFixture, block_seconds: float, full: int, quiet_seconds: float
) -> None:
    silence = np.zeros(RATE, np.float32)
    room = np.rint(noise(quiet_seconds, 3.0))
    spoken = (np.concatenate((0.9 * tone(RATE), tone(RATE))) / 0.3 * full).astype(np.float32)
    samples = np.concatenate((silence, room, np.rint(spoken)))
    pcm = read(wav(samples), block_seconds)
    np.testing.assert_array_equal(pcm, samples / np.float32(full))
    (note,) = caplog.records
    assert (note.levelno, str(full) in note.getMessage()) == (logging.WARNING, True)


@pytest.mark.parametrize(
    "samples",
    [
        tone(RATE),
        4 * tone(RATE, 20.0),
        np.concatenate((noise(1.0, 0.1), 30 * noise(1.0, 0.1))),
        np.sign(tone(RATE)),
        tone(RATE, 0.01),
    ],
    ids=["ordinary", "too loud", "loud later", "clipped", "short"],
)
def test_other_floats_are_kept_as_they_are(caplog: pytest.LogCaptureFixture, samples: Pcm) -> None:
    np.testing.assert_array_equal(read(wav(samples)), samples)
    assert not caplog.records


def test_one_wild_sample_is_no_scale() -> None:
    samples = tone(RATE)
    samples[100] = 20000.0
    with pytest.raises(AudioError, match=r"above 100 at 0\.006 s"):
        read(wav(samples))


def test_integers_need_no_scale(caplog: pytest.LogCaptureFixture) -> None:
    loud = np.sign(tone(RATE))
    assert np.abs(read(wav(loud, "PCM_16"))).max() <= 1
    assert not caplog.records


def stereo(left: Pcm, right: Pcm) -> Pcm:
    return np.stack((left, right), axis=1).astype(np.float32)


@pytest.mark.parametrize("block_seconds", BLOCKS)
@pytest.mark.parametrize("used", [0, 1])
def test_of_channels_that_cancel_the_louder_one_is_used(
    caplog: pytest.LogCaptureFixture, block_seconds: float, used: int
) -> None:
    spoken, room = tone(RATE), noise(2.0, 1e-4)
    pair = [0.98 * spoken, 0.98 * spoken]
    pair[used] = -spoken + room
    pcm = read(wav(stereo(*pair)), block_seconds)
    rising = np.flatnonzero(np.abs(spoken) > 0.01)
    loud = slice(rising[0] + RATE // 10, rising[-1] - RATE // 10)
    np.testing.assert_array_equal(pcm[loud], pair[used][loud])
    np.testing.assert_array_equal(pcm, read(wav(stereo(*pair)), 100.0))
    assert len(caplog.records) == 2
    assert f"channel {used} " in caplog.records[0].getMessage()


def test_they_may_cancel_for_a_part(caplog: pytest.LogCaptureFixture) -> None:
    first, second = noise(1.0, 0.1), noise(1.0, 0.1)
    samples = stereo(np.append(first, second), np.append(first, -second))
    np.testing.assert_array_equal(read(wav(samples)), np.append(first, second))
    assert len(caplog.records) == 1


def test_a_channel_that_was_chosen_is_used(caplog: pytest.LogCaptureFixture) -> None:
    samples = stereo(tone(RATE), -tone(RATE))
    np.testing.assert_array_equal(read(wav(samples), channel=1), samples[:, 1])
    assert not caplog.records


@pytest.mark.parametrize("other", [0.0, 1.0, 0.3])
def test_channels_that_do_not_cancel_are_averaged(
    caplog: pytest.LogCaptureFixture, other: float
) -> None:
    samples = stereo(tone(RATE), other * np.roll(tone(RATE), 9))
    mean = samples.mean(axis=1)
    np.testing.assert_array_equal(read(wav(samples), 0.05), mean)
    np.testing.assert_array_equal(np.concatenate(list(audio_blocks(samples, RATE))), mean)
    assert not caplog.records


def test_arrays_that_cancel(caplog: pytest.LogCaptureFixture) -> None:
    samples = stereo(noise(1.0, 0.1), -noise(1.0, 0.1))
    np.testing.assert_array_equal(np.concatenate(list(audio_blocks(samples, RATE))), samples[:, 0])
    assert len(caplog.records) == 1
