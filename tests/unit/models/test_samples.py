"""Samples are checked by every API: numbers, within a bound, in the right type and
shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scripted_models import hibiki, moshi, ramp, tokens
from support.speech import Array

from kyutai_onnx.models import Mimi, SpeechToText
from kyutai_onnx.runtime.audio import check_samples
from kyutai_onnx.runtime.audio.pcm import LOUDEST
from kyutai_onnx.runtime.errors import AudioError, UsageError
from kyutai_onnx.server.engine.engine_session import AudioIntake

Entry = Callable[[Any], object]
WRONG: dict[str, Any] = {
    "nan": np.array([0.1, np.nan, 0.1], np.float32),
    "infinite": np.array([0.1, np.inf], np.float32),
    "minus infinite": np.array([-np.inf, 0.1], np.float32),
    "deafening": np.array([1e38, 0.1], np.float32),
    "whole numbers": np.array([0.1, -32768.0], np.float32),
    "float64": np.zeros(2000),
    "int16": np.zeros(2000, np.int16),
    "stereo": np.zeros((2000, 2), np.float32),
}
CONVERTED = ("float64", "int16", "stereo")
CONVERTING = ("transcribe", "reply", "translate", "encode")
"""What whole recordings may be, and the methods that take them."""


def entries(model: SpeechToText, mimi: Mimi) -> dict[str, Entry]:
    batch = model.batch(2)
    row, translator = batch.join(model.task()), hibiki(tokens())
    return {
        "stream": model.stream().feed,
        "prime": lambda pcm: model.stream().task.prime(pcm, cut=False),
        "row": row.feed,
        "row's prime": lambda pcm: row.task.prime(pcm, cut=True),
        "transcribe": lambda pcm: list(model.transcribe(pcm)),
        "together": lambda pcm: list(model.together([pcm], rows=1)),
        "moshi": moshi(tokens()).stream().feed,
        "reply": moshi(tokens()).reply,
        "hibiki": translator.batch(1).join(translator.task()).feed,
        "translate": hibiki(tokens()).translate,
        "encoder": mimi.stream("encode").feed,
        "encode": mimi.encode,
        "server": AudioIntake(24_000, 60.0).check,
    }


@pytest.mark.parametrize("wrong", WRONG)
def test_every_entry_refuses_samples_that_are_no_audio(
    wrong: str, model: SpeechToText, mimi: Mimi
) -> None:
    for name, entry in entries(model, mimi).items():
        if wrong in CONVERTED and name in CONVERTING:
            continue
        with pytest.raises(UsageError, match=r"audio|samples") as refused:
            entry(WRONG[wrong])
        assert len(str(refused.value).splitlines()) == 1, name


def test_what_is_refused_leaves_a_stream_as_it_was(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream()
    for wrong in WRONG.values():
        with pytest.raises(UsageError):
            stream.feed(wrong)
    found = stream.feed(pcm[:30_000])
    for wrong in WRONG.values():
        with pytest.raises(UsageError):
            stream.feed(wrong)
    found += [*stream.feed(pcm[30_000:]), *stream.flush()]
    alone = model.stream()
    assert found == [*alone.feed(pcm), *alone.flush()]


def test_frames_and_codes_of_the_codec_are_checked_too(mimi: Mimi) -> None:
    encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
    size = mimi.frame_size
    for frames in (np.zeros(size, np.float32), np.zeros((2, size - 1), np.float32)):
        with pytest.raises(UsageError, match="frames"):
            encoder.encode(frames)
    with pytest.raises(UsageError, match="NaN"):
        encoder.encode(np.full((1, size), np.nan, np.float32))
    for codes in ([[1 << 40]], [[-1]], [[0.5]], [0], np.zeros((99, 1), np.int64)):
        with pytest.raises(UsageError, match="codes"):
            decoder.feed(np.asarray(codes))


@pytest.mark.parametrize("loudest", [LOUDEST, -LOUDEST])
def test_the_bound_itself_is_audio(loudest: float) -> None:
    check_samples(np.array([0.0, loudest], np.float32))
    check_samples(np.empty(0, np.float32))
    with pytest.raises(UsageError, match="sample of"):
        check_samples(np.array([0.0, 1.001 * loudest], np.float32))


def test_a_file_with_such_samples_is_refused_with_them(tmp_path: Path, model: SpeechToText) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "loud.wav"
    samples = np.tile(ramp(3), 2)
    samples[5000] = 1e4
    soundfile.write(path, samples, 24_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="above 100"):
        list(model.transcribe(path))
