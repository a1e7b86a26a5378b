"""The slope of a calibration, and what chance alone does to its error."""

from __future__ import annotations

import numpy as np
import pytest

from triage.evaluation.calibrated import slope_of
from triage.evaluation.figures import measure

pytestmark = pytest.mark.slow

CASES = 4000


def drawn(sharpness: float, count: int = CASES) -> tuple[list[int], list[float]]:
    """Truths and probabilities, whose logits are `sharpness` times what they should be."""
    rng = np.random.default_rng(3)
    logits = rng.normal(-1, 1.5, count)
    truths = rng.random(count) < 1 / (1 + np.exp(-logits))
    return truths.astype(int).tolist(), (1 / (1 + np.exp(-sharpness * logits))).tolist()


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_the_slope_is_what_the_logits_would_have_to_be_multiplied_by(sharpness: float) -> None:
    truths, likely = drawn(sharpness)
    found = measure(truths, likely, list(map(str, range(CASES))), 0.5, rounds=200)
    assert found.slope == pytest.approx(1 / sharpness, rel=0.1)
    assert found.slope_ci95 is not None
    assert found.slope_ci95[0] < 1 / sharpness < found.slope_ci95[1]


def test_truths_that_the_scores_part_have_no_slope_nor_have_those_that_are_alike() -> None:
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    assert slope_of(truth, np.array([0.1, 0.2, 0.7, 0.9])) is None
    assert slope_of(np.ones(4), np.array([0.1, 0.2, 0.7, 0.9])) is None
    assert slope_of(truth, np.full(4, 0.5)) is None
    assert slope_of(truth, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("sharpness", "within"), [(1.0, True), (3.0, False)])
def test_a_calibrated_model_stays_below_the_bound_and_one_that_says_too_much_does_not(
    sharpness: float, within: bool
) -> None:
    truths, likely = drawn(sharpness, 500)
    found = measure(truths, likely, list(map(str, range(500))), 0.5)
    assert found.ece is not None
    assert found.ece_bound95 is not None
    assert (found.ece <= found.ece_bound95) == within


def test_of_few_cases_chance_does_more() -> None:
    bounds = [
        measure(*drawn(1.0, count), list(map(str, range(count))), 0.5, rounds=200).ece_bound95
        for count in (20, 200, 2000)
    ]
    assert bounds == sorted(bounds, key=lambda bound: -(bound or 0))
