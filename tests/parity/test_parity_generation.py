"""The models that make speech against Kyutai's `LMGen`: the same tokens, every frame, every row."""

from collections.abc import Callable

import numpy as np
import pytest
from support.parity.beside import begin, compare, reported
from support.parity.fixtures import Bundles, Checkpoints
from support.parity.generating import Case, Run, record
from support.parity.schedule import ROWS, schedule

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.export.verification.agreement import Choices
from kyutai_onnx.export.verification.teacher_forcing import Agreement, TeacherForcing
from kyutai_onnx.models.lm.generation import Generator
from kyutai_onnx.models.lm.language_model import LanguageModel, SamplingParams
from kyutai_onnx.runtime.bundle.bundle import Bundle

Record = Callable[[Case], Run]

MOSHI = Case("moshi", "moshi", frames=240)
HIBIKI = Case("hibiki", "hibiki", frames=320)
GUIDED = Case("hibiki by 3", "hibiki", 3.0, frames=320)
MASKED = Case("hibiki by 3, null rows late and without text", "hibiki", 3.0, True, True, frames=240)
ZERO = Case("hibiki-zero", "hibiki-zero", frames=240)
TTS = Case("tts", "tts", frames=760)
FEWER = Case("tts, five codebooks", "tts", codebooks=5, frames=200)
PREFIX = Case("tts-prefix by 2", "tts-prefix", 2.0, True, True, prefixes=True, frames=480)
ODD = Case("odd", "odd-depth", frames=620)
ODD_GUIDED = Case("odd by 1.5", "odd-depth", 1.5, frames=150)
ONE_SET = Case("one weight set", "one-set", frames=560)
WHOLE = [MOSHI, HIBIKI, GUIDED, ZERO, TTS, PREFIX, ODD, ONE_SET]
"""Those that are varied: long enough for every codebook to show what it has."""
PORTABLE = [MOSHI, GUIDED, ZERO, TTS, PREFIX]

DRAWN = [
    Case("moshi", "moshi", sampling=SamplingParams(0.8, 0.7, 50, 25), frames=120),
    Case("hibiki by 3", "hibiki", 3.0, sampling=SamplingParams(0.8, 0.4, 50, 0), frames=120),
    Case(
        "tts, three codebooks",
        "tts",
        codebooks=3,
        sampling=SamplingParams(0.6, 0.6, 250, 25),
        frames=120,
    ),
    Case(
        "tts-prefix by 2",
        "tts-prefix",
        2.0,
        True,
        True,
        prefixes=True,
        sampling=SamplingParams(0.6, 0.6, 50, 25),
        frames=120,
    ),
]


@pytest.fixture(scope="module")
def recorded(checkpoint: Checkpoints) -> Record:
    runs: dict[Case, Run] = {}

    def run(case: Case) -> Run:
        if case not in runs:
            runs[case] = record(case, open_checkpoint(str(checkpoint("light", case.lm))))
        return runs[case]

    return run


def load(made: Bundle, case: Case) -> LanguageModel:
    return LanguageModel(made, provider="cpu", allow_fallback=True, codebooks=case.codebooks)


def check_exact(agreement: Agreement) -> None:
    assert agreement.text.wrong == 0
    assert [choices.wrong for choices in agreement.codes] == [0] * len(agreement.codes)
    assert agreement.frames == 0, "frames are put together from other steps"
    assert agreement.hidden.relative < 1e-5
    assert agreement.heads is not None
    assert agreement.heads.error < 1e-5


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_tokens_equal_the_references_in_every_row(
    case: Case, bundle: Bundles, recorded: Record
) -> None:
    model = load(bundle("light", case.lm, decoder=False), case)
    agreement = compare(recorded(case), model)
    print(f"{case}: {reported(agreement)}")
    check_exact(agreement)
    texts = recorded(case).steps[0].text_scores.shape[1]
    assert len(agreement.text.distinct) >= min(50, texts), "hollow: too few tokens occur"
    assert min(len(choices.distinct) for choices in agreement.codes) >= 200, "hollow: too few codes"


@pytest.mark.parametrize("case", [MASKED, FEWER, ODD_GUIDED], ids=str)
def test_so_do_those_of_other_ways_to_run_them(
    case: Case, bundle: Bundles, recorded: Record
) -> None:
    agreement = compare(recorded(case), load(bundle("light", case.lm, decoder=False), case))
    print(f"{case}: {reported(agreement)}")
    check_exact(agreement)


@pytest.mark.parametrize("case", PORTABLE, ids=str)
def test_so_do_those_of_the_portable_flavour(case: Case, bundle: Bundles, recorded: Record) -> None:
    made = bundle("light", case.lm, target="directml", decoder=False)
    agreement = compare(recorded(case), load(made, case))
    print(f"{case}, portable: {reported(agreement)}")
    check_exact(agreement)


@pytest.mark.parametrize("case", DRAWN, ids=str)
def test_the_same_noise_draws_the_references_tokens(
    case: Case, bundle: Bundles, recorded: Record
) -> None:
    agreement = compare(recorded(case), load(bundle("light", case.lm, decoder=False), case))
    print(f"{case}, drawn: {reported(agreement)}")
    check_exact(agreement)
    steps = recorded(case).steps
    best = [step.code_scores.argmax(-1) == step.codes for step in steps if step.code_scores.size]
    assert np.mean(best) < 0.9, "hollow: what is drawn is the best"


def test_guidance_makes_other_tokens(recorded: Record) -> None:
    pairs = zip(recorded(HIBIKI).steps, recorded(GUIDED).steps, strict=True)
    assert np.mean([plain.codes == guided.codes for plain, guided in pairs]) < 0.2


def test_rows_with_and_without_guidance_share_a_batch(bundle: Bundles, recorded: Record) -> None:
    runs = [recorded(GUIDED), recorded(HIBIKI)] * 2
    generator = Generator(load(bundle("light", "hibiki", decoder=False), HIBIKI), ROWS, guided=True)
    agreement = Agreement(codes=[Choices() for _ in range(generator.model.spec.dep_q)])
    rules = [TeacherForcing(agreement, row) for row in range(ROWS)]
    for row in range(ROWS):
        begin(generator, runs[row], row, rules[row])
    for index, frame in zip(range(172), schedule(HIBIKI.frames), strict=False):
        for row in frame.reset:
            begin(generator, runs[row], row, rules[row])
        for row in range(ROWS):
            rules[row].recorded = runs[row].steps[index]
        made = generator.step(runs[0].codes[index], frame.active)
        for row in np.flatnonzero(frame.active):
            assert (made.frame[row] == runs[row].steps[index].frame[row]).all()
    check_exact(agreement)


def test_a_stream_goes_on_in_another_row_of_another_flavour(
    bundle: Bundles, recorded: Record
) -> None:
    run, half = recorded(GUIDED), 60
    agreement = Agreement(codes=[Choices() for _ in range(4)])
    rules = TeacherForcing(agreement, 0)
    native = Generator(load(bundle("light", "hibiki", decoder=False), GUIDED), 1, guided=True)
    made = bundle("light", "hibiki", target="directml", decoder=False)
    portable = Generator(load(made, GUIDED), 3, guided=True)
    begin(native, run, 0, rules)
    for index in range(2 * half):
        rules.recorded = run.steps[index]
        if index < half:
            frame = native.step(run.codes[index, :1]).frame[0]
        else:
            codes = np.repeat(run.codes[index, :1], 3, axis=0)
            frame = portable.step(codes, np.array([False, False, True])).frame[2]
        assert (frame == run.steps[index].frame[0]).all()
        if index == half - 1:
            portable.load(2, native.save(0), rules)
    check_exact(agreement)


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9), ("int8", 0.6), ("int4", 0.1)])
def test_lower_precisions_agree_as_far_as_they_can(
    precision: str, least: float, bundle: Bundles, recorded: Record
) -> None:
    made = bundle("light", "hibiki", precision=precision, decoder=False)
    agreement = compare(recorded(GUIDED), load(made, GUIDED))
    print(f"{GUIDED}, {precision}: {reported(agreement)}")
    equal, wrong = (sum(getattr(c, name) for c in agreement.codes) for name in ("equal", "wrong"))
    assert agreement.text.share >= least
    assert equal / (equal + wrong) >= least
