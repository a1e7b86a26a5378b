"""The closed forms against published values, each other, laws that hold for all, and chains solved
by force.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worklist.simulate import closed_forms
from worklist.simulate.closed_forms import NoSteadyState, Stream

loads = st.floats(0.05, 0.45)
means = st.floats(1, 30)
readers_ = st.integers(1, 4)


def ai_classes(load: float, sensitivity: float, specificity: float) -> list[float]:
    """Shares of AI positive and negative; a tenth of the patients is diseased."""
    positive = 0.1 * sensitivity + 0.9 * (1 - specificity)
    return [load / 10 * positive, load / 10 * (1 - positive)]


@pytest.mark.parametrize(
    ("load", "specificity", "positive", "negative"),
    [(0.8, 0.8085612, 2.66, 53.28), (0.8, 0.9, 1.68, 48.41)],
)
def test_preemptive_resume_gives_the_published_waits(
    load: float, specificity: float, positive: float, negative: float
) -> None:
    streams = [[Stream.exponential(r, 10)] for r in ai_classes(load, 0.9, specificity)]
    (high,), (low,) = closed_forms.preemptive_resume(streams)
    assert (high, low) == pytest.approx((positive, negative), abs=0.01)


@pytest.mark.parametrize(
    ("load", "positive", "negative", "diseased"),
    [(0.8, 9.35, 46.73, 13.08), (0.9, 10.74, 107.40, 20.41), (0.95, 11.46, 229.19, 33.23)],
)
def test_non_preemptive_gives_the_published_waits(
    load: float, positive: float, negative: float, diseased: float
) -> None:
    streams = [[Stream.exponential(r, 10)] for r in ai_classes(load, 0.9, 0.9)]
    high, low = closed_forms.non_preemptive(streams)
    assert (high, low) == pytest.approx((positive, negative), abs=0.01)
    assert 0.9 * high + 0.1 * low == pytest.approx(diseased, abs=0.01)


@pytest.mark.parametrize(
    ("load", "saved"),
    [(0.3, 3.26), (0.5, 7.91), (0.7, 19.22), (0.8, 33.64), (0.9, 77.33), (0.95, 165.0)],
)
def test_minutes_saved_grow_with_the_load_as_published(load: float, saved: float) -> None:
    streams = [[Stream.exponential(r, 10)] for r in ai_classes(load, 0.9, 0.9)]
    (high,), (low,) = closed_forms.preemptive_resume(streams)
    first_come = 10 * load / (1 - load)
    assert first_come - (0.9 * high + 0.1 * low) == pytest.approx(saved, abs=0.05)


def test_two_readers_with_studies_that_interrupt_give_the_published_waits() -> None:
    rate = 0.8 * 2 / (0.1 * 5 + 0.9 * 10)
    high = Stream.exponential(0.1 * rate, 5)
    everybody = closed_forms.interrupted_class(high, Stream.exponential(0.9 * rate, 10), 2)
    flagged = closed_forms.interrupted_class(high, Stream.exponential(0.162 * rate, 10), 2)
    assert everybody == pytest.approx(18.29, abs=0.01)
    assert flagged == pytest.approx(0.39, abs=0.01)
    assert (everybody - 0.18 * flagged) / 0.82 == pytest.approx(22.16, abs=0.06)


@given(st.lists(loads, min_size=2, max_size=2), means, means)
def test_the_chain_with_one_reader_is_the_closed_form(
    shares: list[float], first: float, second: float
) -> None:
    high, low = (
        Stream.exponential(load / mean, mean)
        for load, mean in zip(shares, (first, second), strict=True)
    )
    (_,), (expected,) = closed_forms.preemptive_resume([[high], [low]])
    assert closed_forms.interrupted_class(high, low, 1) == pytest.approx(expected, rel=1e-6)


@given(st.lists(loads, min_size=2, max_size=2), means, readers_)
def test_the_chain_with_equal_reads_is_the_closed_form(
    shares: list[float], mean: float, readers: int
) -> None:
    rates = [load * readers / mean for load in shares]
    expected = closed_forms.preemptive_resume_readers(rates, mean, readers)[1]
    streams = [Stream.exponential(rate, mean) for rate in rates]
    assert closed_forms.interrupted_class(streams[0], streams[1], readers) == pytest.approx(
        expected, rel=1e-6
    )


def by_force(high: Stream, low: Stream, readers: int) -> float:
    """The same chain, cut far out and solved as one set of equations."""
    states = list(product(range(14), range(240)))
    number = {state: n for n, state in enumerate(states)}
    rates = np.zeros((len(states), len(states)))
    for (highs, lows), here in number.items():
        busy = min(highs, readers)
        for state, rate in (
            ((highs + 1, lows), high.rate),
            ((highs, lows + 1), low.rate),
            ((highs - 1, lows), busy / high.mean),
            ((highs, lows - 1), min(lows, readers - busy) / low.mean),
        ):
            if state in number:
                rates[here, number[state]] += rate
    rates -= np.diag(rates.sum(axis=1))
    rates[:, 0] = 1
    right = np.zeros(len(states))
    right[0] = 1
    share = np.linalg.solve(rates.T, right)
    mean = sum(lows * share[n] for (_, lows), n in number.items())
    return float(mean / low.rate - low.mean)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.floats(0.05, 0.25), st.floats(0.05, 0.3), means, means, st.integers(2, 3))
def test_the_chain_is_what_brute_force_finds(
    high_load: float, low_load: float, first: float, second: float, readers: int
) -> None:
    high = Stream.exponential(high_load * readers / first, first)
    low = Stream.exponential(low_load * readers / second, second)
    found = closed_forms.interrupted_class(high, low, readers)
    assert found == pytest.approx(by_force(high, low, readers), rel=1e-3, abs=1e-4)


@given(st.lists(st.tuples(st.floats(0.02, 0.3), means), min_size=1, max_size=3))
def test_work_is_conserved_whatever_the_order(parts: list[tuple[float, float]]) -> None:
    """Σ ρᵢWᵢ is the same for every non-preemptive order (Kleinrock 1965)."""
    streams = [[Stream(load / mean, mean, 1.7 * mean**2)] for load, mean in parts]

    def total(order: list[list[Stream]]) -> float:
        waits = closed_forms.non_preemptive(order)
        return sum(o[0].rate * o[0].mean * w for o, w in zip(order, waits, strict=True))

    together = [[stream for (stream,) in streams]]
    (first_come,) = closed_forms.non_preemptive(together)
    load = sum(load for load, _ in parts)
    assert total(streams) == pytest.approx(total(streams[::-1])) == pytest.approx(load * first_come)


@given(st.lists(loads, min_size=2, max_size=2), means)
def test_several_readers_with_one_reader_are_the_one_reader(
    shares: list[float], mean: float
) -> None:
    rates = [load / mean for load in shares]
    streams = [[Stream.exponential(rate, mean)] for rate in rates]
    assert closed_forms.non_preemptive_readers(rates, mean, 1) == pytest.approx(
        closed_forms.non_preemptive(streams)
    )
    alone = [wait for (wait,) in closed_forms.preemptive_resume(streams)]
    assert closed_forms.preemptive_resume_readers(rates, mean, 1) == pytest.approx(alone, abs=1e-9)


def test_more_work_than_can_be_read_has_no_mean_and_says_what_to_do() -> None:
    heavy = Stream.exponential(0.1, 10)
    for ask in (
        lambda: closed_forms.non_preemptive([[heavy]]),
        lambda: closed_forms.preemptive_resume([[heavy]]),
        lambda: closed_forms.non_preemptive_readers([0.2], 10, 2),
        lambda: closed_forms.preemptive_resume_readers([0.2], 10, 2),
        lambda: closed_forms.interrupted_class(heavy, heavy, 2),
    ):
        with pytest.raises(NoSteadyState, match=r"load is 1\.000.*add a reader"):
            ask()
