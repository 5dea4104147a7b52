"""The temporal transformer against `LMGen`: the same tokens, every frame, in every variant."""

from collections.abc import Callable

import numpy as np
import pytest
from support.parity.fixtures import Bundles, Checkpoints
from support.parity.reference import LmRun, run_lm
from support.parity.schedule import ROWS, schedule

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.export.verification.agreement import Choices, Numbers
from kyutai_onnx.models.lm.delays import DelayCache
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.graph.graph import Graph
from kyutai_onnx.runtime.providers.provider import PROVIDERS

Run = Callable[[str], LmRun]
VARIANTS = ["stt", "grouped", "sinusoidal", "both", "plain"]
CASES = [(variant, target) for variant in VARIANTS for target in ("cpu", "cuda")]


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoints) -> Run:
    runs: dict[str, LmRun] = {}

    def run(lm: str) -> LmRun:
        if lm not in runs:
            runs[lm] = run_lm(open_checkpoint(str(checkpoint("mimi", lm))))
        return runs[lm]

    return run


def compare(made: Bundle, run: LmRun) -> tuple[Choices, Numbers]:
    """Steps all rows as the schedule says, going on with the reference's choice at each step."""
    lm = made.manifest.lm
    assert lm is not None
    rows = BatchState(Graph(made, lm.temporal, PROVIDERS["cpu"]), ROWS)
    cache, choices, heads = DelayCache(lm, ROWS), Choices(), Numbers()
    for index, frame in enumerate(schedule()):
        rows.reset(frame.reset)
        cache.reset(frame.reset)
        tokens = cache.read(run.codes[index], frame.active)
        outputs = rows.step({"tokens": tokens}, frame.active)
        for row in np.flatnonzero(frame.active):
            choices.add(run.scores[index][row], int(np.argmax(outputs["text_logits"][row])))
        if "extra_heads" in outputs:
            active = frame.active
            heads.add(run.heads[index][active], outputs["extra_heads"][active])
        made_tokens = cache.write(run.scores[index].argmax(-1)[:, None], frame.active)
        assert (made_tokens[:, 0] == run.tokens[index]).all()
    return choices, heads


@pytest.mark.parametrize(("lm", "target"), CASES)
def test_tokens_equal_the_references_in_every_row(
    lm: str, target: str, bundle: Bundles, reference: Run
) -> None:
    choices, heads = compare(bundle("mimi", lm, target=target), reference(lm))
    assert choices.wrong == 0
    assert len(choices.distinct) >= 50, "hollow: too few tokens occur"
    assert heads.error < 1e-4
    print(f"{lm} {target}: {choices}")


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.97), ("int8", 0.9), ("int4", 0.3)])
def test_lower_precisions_agree_as_far_as_they_can(
    precision: str, least: float, bundle: Bundles, reference: Run
) -> None:
    choices, _ = compare(bundle("mimi", "stt", precision=precision), reference("stt"))
    print(f"{precision}: {choices}")
    assert choices.share >= least


def test_a_cache_of_eight_bits_agrees_as_far_as_it_can(bundle: Bundles, reference: Run) -> None:
    made = bundle("mimi", "stt", cache="int8")
    choices, _ = compare(made, reference("stt"))
    print(f"KV cache int8: {choices}")
    assert choices.share >= 0.88
    caches = [state for graph in made.manifest.graphs.values() for state in graph.states]
    assert {state.dtype for state in caches if state.carry == "append"} == {"int8"}


def test_half_precision_graphs_for_gpus_run_on_the_cpu_too(bundle: Bundles, reference: Run) -> None:
    choices, _ = compare(bundle("mimi", "stt", target="cuda", precision="fp16"), reference("stt"))
    print(f"cuda fp16: {choices}")
    assert choices.share >= 0.9
