"""Our generator beside what was recorded of Kyutai's: the same rows on the same codes."""

from dataclasses import replace
from typing import Any

import numpy as np
from support.parity.generating import SEED, Run
from support.parity.schedule import ROWS, schedule

from kyutai_onnx.export.verification.agreement import Choices
from kyutai_onnx.export.verification.teacher_forcing import Agreement, SideBySide, TeacherForcing
from kyutai_onnx.models.lm.generation import Generator
from kyutai_onnx.models.lm.language_model import Guidance, LanguageModel

Array = np.ndarray[Any, Any]


def compare(run: Run, model: LanguageModel) -> Agreement:
    """Steps all rows as the schedule says; a row begins when it is first active, and when it is
    reset."""
    case = run.case
    guided = case.coefficient != 1
    generator = Generator(model, ROWS, guided=guided)
    agreement = Agreement(codes=[Choices() for _ in range(model.spec.dep_q)])
    rules = [TeacherForcing(agreement, row) for row in range(ROWS)]
    beside = SideBySide(generator, rules, agreement)
    begun: set[int] = set()
    for index, frame in enumerate(schedule(case.frames)):
        for row in np.flatnonzero(frame.active):
            if row not in begun or row in frame.reset:
                begin(generator, run, row, rules[row])
                begun.add(row)
        beside.step(run.steps[index], run.codes[index], frame.active)
    return agreement


def begin(generator: Generator, run: Run, row: int, rules: TeacherForcing) -> None:
    model, given = generator.model, run.conditions[row]
    guidance = None
    if generator.guided:
        nothing = given.nothing()
        guidance = Guidance(
            run.case.coefficient,
            null=model.condition(nothing.texts, nothing.tensors),
            masked_until=None if run.masked_until is None else run.masked_until[row],
            no_text=run.case.no_text,
        )
    conditions = model.condition(given.texts, given.tensors)
    sampling = replace(run.case.sampling, seed=SEED + row)
    generator.begin(row, sampling, rules, conditions=conditions, guidance=guidance)


def reported(agreement: Agreement) -> str:
    """One line of figures."""
    codes = agreement.codes
    equal, ties, wrong = (
        sum(getattr(c, name) for c in codes) for name in ("equal", "ties", "wrong")
    )
    fewest = min(len(choices.distinct) for choices in codes)
    return (
        f"text {agreement.text}; codes {equal} equal, {ties} ties, {wrong} differ, "
        f"{fewest} distinct at least; hidden {agreement.hidden}"
    )
