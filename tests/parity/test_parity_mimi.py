"""Mimi against the reference: the same codes and waveforms, every frame, in every flavour."""

from collections.abc import Callable

import numpy as np
import pytest
from support.parity.fixtures import Bundles, Checkpoints
from support.parity.reference import CodecRun, run_codec
from support.parity.rows import Rows
from support.parity.schedule import ROWS, schedule

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.export.verification.agreement import Choices, Numbers
from kyutai_onnx.runtime.graph.batch_state import PipelineState
from kyutai_onnx.runtime.graph.graph import GraphPipeline
from kyutai_onnx.runtime.providers.provider import PROVIDERS

Run = Callable[[str], CodecRun]
MODELS = {"mimi": "stt", "odd": "five-codebooks", "same-rate": "one-layer"}
CASES = [
    ("mimi", "cpu"),
    ("mimi", "cuda"),
    ("mimi", "coreml"),
    ("odd", "cpu"),
    ("odd", "cuda"),
    ("odd", "coreml"),
    ("same-rate", "cpu"),
]


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoints) -> Run:
    runs: dict[str, CodecRun] = {}

    def run(mimi: str) -> CodecRun:
        if mimi not in runs:
            runs[mimi] = run_codec(open_checkpoint(str(checkpoint(mimi, MODELS[mimi]))))
        return runs[mimi]

    return run


@pytest.mark.parametrize(("mimi", "target"), CASES)
def test_codes_equal_the_references_in_every_row(
    mimi: str, target: str, bundle: Bundles, reference: Run
) -> None:
    run, made = reference(mimi), bundle(mimi, MODELS[mimi], target=target)
    codec = made.manifest.codec
    rows = Rows(GraphPipeline(made, codec.encoder, PROVIDERS["cpu"]))
    choices = [Choices() for _ in range(codec.codebooks)]
    for index, frame in enumerate(schedule()):
        rows.reset(frame.reset)
        codes = rows.step({"pcm": run.pcm[:, index, None]}, frame.active)["codes"]
        for row in np.flatnonzero(frame.active):
            run.compare(index, row, codes[row, :, 0], choices)
    assert [choice.wrong for choice in choices] == [0] * codec.codebooks
    assert min(len(choice.distinct) for choice in choices) >= 200, "hollow: too few codes occur"
    print(
        f"{mimi} {target}: {sum(c.equal for c in choices)} codes equal, "
        f"{sum(c.ties for c in choices)} ties"
    )


@pytest.mark.parametrize(("mimi", "target"), CASES)
def test_waveforms_equal_the_references_in_every_row(
    mimi: str, target: str, bundle: Bundles, reference: Run
) -> None:
    run, made = reference(mimi), bundle(mimi, MODELS[mimi], target=target)
    rows = Rows(GraphPipeline(made, made.manifest.codec.decoder, PROVIDERS["cpu"]))
    numbers = Numbers()
    for index, frame in enumerate(schedule()):
        rows.reset(frame.reset)
        pcm = rows.step({"codes": run.codes[index][..., None]}, frame.active)["pcm"]
        active = frame.active
        numbers.add(run.decoded[index][active], pcm[active, 0])
    assert numbers.peak >= 0.1, "hollow: the waveform is silent"
    assert numbers.relative <= 1e-4


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("frames", [2, 7, 25])
def test_frames_a_call_change_nothing(
    target: str, frames: int, bundle: Bundles, reference: Run
) -> None:
    run, made = reference("mimi"), bundle("mimi", "stt", target=target)
    codec = made.manifest.codec
    whole = run.pcm[0].reshape(1, 1, -1)[..., : 175 * made.manifest.audio.frame_size]
    size = frames * made.manifest.audio.frame_size
    encoder = PipelineState(GraphPipeline(made, codec.encoder, PROVIDERS["cpu"]))
    decoder = PipelineState(GraphPipeline(made, codec.decoder, PROVIDERS["cpu"]))
    numbers = Numbers()
    for start in range(0, whole.shape[-1] // size * size, size):
        first = start // made.manifest.audio.frame_size
        codes = encoder.step({"pcm": whole[..., start : start + size]})["codes"].copy()
        expected = np.stack(run.codes[first : first + frames])[:, 0].T
        assert (codes[0] == expected).all()
        pcm = decoder.step({"codes": codes})["pcm"]
        numbers.add(np.concatenate([d[0] for d in run.decoded[first : first + frames]]), pcm[0, 0])
    assert numbers.relative <= 1e-4


def test_a_state_continues_in_another_flavour(bundle: Bundles, reference: Run) -> None:
    run, half = reference("mimi"), 100
    native, portable = bundle("mimi", "stt"), bundle("mimi", "stt", target="cuda")
    first = PipelineState(
        GraphPipeline(native, native.manifest.codec.encoder, PROVIDERS["cpu"]), ROWS
    )
    second = PipelineState(
        GraphPipeline(portable, portable.manifest.codec.encoder, PROVIDERS["cpu"]), 2
    )
    for index in range(half):
        first.step({"pcm": run.pcm[:, index, None]}, [True, False, False, False])
    second.load(1, first.save(0))
    for index in range(half, half + 60):
        pcm = run.pcm[[1, 0], index, None]
        codes = second.step({"pcm": pcm}, [False, True])["codes"]
        assert (codes[1, :, 0] == run.codes[index][0]).all()


def test_a_codec_of_eight_bits_stays_close(bundle: Bundles, reference: Run) -> None:
    run, made = reference("mimi"), bundle("mimi", "stt", codec="int8")
    codec = made.manifest.codec
    encoder = PipelineState(GraphPipeline(made, codec.encoder, PROVIDERS["cpu"]))
    decoder = PipelineState(GraphPipeline(made, codec.decoder, PROVIDERS["cpu"]))
    active = [index for index, frame in enumerate(schedule()) if frame.active[0]][:60]
    equal, numbers = [], Numbers()
    for index in active:
        codes = encoder.step({"pcm": run.pcm[:1, index, None]})["codes"]
        equal.append(codes[0, :, 0] == run.codes[index][0])
        pcm = decoder.step({"codes": run.codes[index][:1, :, None]})["pcm"]
        numbers.add(run.decoded[index][0], pcm[0, 0])
    assert codec.precision == "int8"
    assert 0.5 < np.mean(equal) < 1
    assert 1e-4 < numbers.relative < 0.1
