"""Figures of merit: what they are, and that their intervals and curves are theirs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.evaluation.figures import auroc, ece, measure, reliability, roc

scores = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda n: n / 20)), min_size=1, max_size=200
)


@given(cases=scores)
def test_the_curve_ends_where_it_must_rises_and_has_the_area(
    cases: list[tuple[int, float]],
) -> None:
    y, p = np.array([t for t, _ in cases], float), np.array([s for _, s in cases])
    curve, area = roc(y, p), auroc(y, p)
    if area is None:
        assert curve == []
        return
    assert (curve[0], curve[-1]) == ((0, 0), (1, 1))
    assert all(a <= c and b <= d for (a, b), (c, d) in itertools.pairwise(curve))
    assert np.trapezoid([b for _, b in curve], [a for a, _ in curve]) == pytest.approx(area)


def test_a_long_curve_is_thinned_and_keeps_its_area() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000).astype(float)
    p = 1 / (1 + np.exp(-(rng.normal(size=3000) + 2 * y - 1)))
    curve = roc(y, p)
    assert len(curve) <= 40
    assert np.trapezoid([b for _, b in curve], [a for a, _ in curve]) == pytest.approx(
        auroc(y, p), abs=0.005
    )


@given(cases=scores)
def test_the_bins_hold_every_case_and_give_the_error(cases: list[tuple[int, float]]) -> None:
    y, p = np.array([t for t, _ in cases], float), np.array([s for _, s in cases])
    bins = reliability(y, p)
    assert sum(count for _, _, count in bins) == len(cases)
    assert sum(abs(mean - rate) * count for mean, rate, count in bins) / len(
        cases
    ) == pytest.approx(ece(y, p))


@settings(max_examples=settings.default.max_examples // 5, deadline=None)
@given(cases=scores, at=st.sampled_from([0.3, 0.5]))
def test_intervals_hold_the_figure_and_are_those_of_the_seed(
    cases: list[tuple[int, float]], at: float
) -> None:
    y, p, people = (
        [t for t, _ in cases],
        [s for _, s in cases],
        [f"p{i}" for i in range(len(cases))],
    )
    found = measure(y, p, people, at, rounds=60)
    assert found == measure(y, p, people, at, rounds=60)
    for name in ("auroc", "sensitivity", "specificity"):
        value, interval = getattr(found, name), getattr(found, f"{name}_ci95")
        assert interval is None or interval[0] - 0.3 <= value <= interval[1] + 0.3


@pytest.mark.slow
def test_images_of_few_people_are_worth_few_people() -> None:
    """The bootstrap draws people: 300 images of 10 have a wider interval than 300 of 300."""
    rng = np.random.default_rng(1)
    level = rng.normal(size=10).repeat(30)
    y = (rng.random(10) < 0.5).repeat(30).astype(int)
    p = 1 / (1 + np.exp(-(level + 0.5 * y + 0.1 * rng.normal(size=300))))
    alone, grouped = (
        measure(y.tolist(), p.tolist(), people, 0.5)
        for people in (list(map(str, range(300))), list("abcdefghij" * 30))
    )
    by_person = measure(y.tolist(), p.tolist(), [str(i // 30) for i in range(300)], 0.5)
    assert alone.auroc == grouped.auroc == by_person.auroc
    assert (alone.patients, by_person.patients) == (300, 10)
    assert width(by_person.auroc_ci95) > 2 * width(alone.auroc_ci95)


def width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def test_nothing_to_measure_is_told() -> None:
    with pytest.raises(ValueError, match="no case"):
        measure([], [], [], 0.5)
