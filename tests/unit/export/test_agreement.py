"""What counts as agreement where two programs are compared."""

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np

from kyutai_onnx.export.verification.agreement import Choices, Numbers


def test_no_number_is_close_to_another_once_one_of_them_is_none() -> None:
    numbers = Numbers()
    numbers.add(np.ones(3), np.array([1, np.nan, 1]))
    numbers.add(np.ones(3), np.ones(3))
    assert not numbers.within(1e-4)
    assert "nan" in str(numbers)


def test_the_greatest_difference_is_kept_and_set_against_the_peak() -> None:
    numbers = Numbers()
    numbers.add(np.array([0.0, -2.0]), np.array([0.5, -2.0]))
    numbers.add(np.array([1.0]), np.array([1.25]))
    assert (numbers.error, numbers.peak) == (0.5, 2.0)
    assert numbers.within(0.25)
    assert not numbers.within(0.24)


def test_a_choice_that_rounding_decides_is_a_tie_and_no_other_one() -> None:
    choices = Choices()
    choices.add(np.array([0.0, 1.0, 0.99999]), 2)
    choices.add(np.array([0.0, 1.0, 0.9]), 2)
    choices.add(np.array([0.0, 1.0, 0.9]), 1)
    assert (choices.equal, choices.ties, choices.wrong) == (1, 1, 1)
    assert choices.share == 0.5
