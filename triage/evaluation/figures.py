"""Figures of merit with their 95 % bootstrap intervals, resampled by patient.

Efron 1979; of clusters: Field & Welsh 2007.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from triage.evaluation.calibrated import drawn_truths, slope_of

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]
Pair = tuple[float, float]
_BINS = 10


@dataclass(frozen=True)
class Figures:
    """What was measured on `n` cases; None where a figure cannot be computed (all cases alike).

    Attributes:
        slope: of the calibration; 1 of a calibrated model.
        ece_bound95: the ECE that 95 % of calibrated models with these probabilities stay below,
            by chance alone, were the cases independent.
    """

    n: int
    positives: int
    patients: int
    auroc: float | None
    auroc_ci95: Pair | None
    sensitivity: float | None
    sensitivity_ci95: Pair | None
    specificity: float | None
    specificity_ci95: Pair | None
    ece: float | None
    ece_ci95: Pair | None
    ece_bound95: float | None
    slope: float | None
    slope_ci95: Pair | None


@dataclass(frozen=True)
class _Cases:
    """What is measured: truths 0 or 1, probabilities 0..1, which are flagged; each [n]."""

    truth: Array
    probability: Array
    flagged: Marks

    def __getitem__(self, which: NDArray[np.intp]) -> _Cases:
        return _Cases(self.truth[which], self.probability[which], self.flagged[which])


class _Points(NamedTuple):
    """Point estimates; None where the cases do not give one."""

    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    ece: float | None
    slope: float | None


def _points(cases: _Cases) -> _Points:
    return _Points(
        auroc=auroc(cases.truth, cases.probability),
        sensitivity=_share(cases.flagged[cases.truth == 1]),
        specificity=_share(~cases.flagged[cases.truth == 0]),
        ece=ece(cases.truth, cases.probability),
        slope=slope_of(cases.truth, cases.probability),
    )


def _resamples(
    groups: NDArray[np.intp], rounds: int, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Indices of cases, `rounds` times: as many groups (patients) as there are, drawn anew.

    One sample at a time: all of them are a thousand times the set.
    """
    order, sizes = np.argsort(groups, kind="stable"), np.bincount(groups)
    firsts = np.cumsum(sizes) - sizes
    for _ in range(rounds):
        drawn = rng.integers(0, len(sizes), len(sizes))
        many = sizes[drawn]
        starts = np.repeat(firsts[drawn] - (np.cumsum(many) - many), many)
        yield order[starts + np.arange(many.sum())]


def measure(
    truth: Sequence[int],
    probability: Sequence[float],
    patients: Sequence[str],
    threshold: float | Sequence[float],
    *,
    seed: int = 0,
    rounds: int = 1000,
) -> Figures:
    """The figures of calibrated probabilities 0..1 against truths 0 or 1.

    Args:
        threshold: for all, or of each case.
        rounds: samples of which the intervals are made.

    Raises:
        ValueError: there is no case.
    """
    if not truth:
        raise ValueError("no case to measure")
    likely = np.asarray(probability, np.float64)
    cases = _Cases(np.asarray(truth, np.float64), likely, likely >= np.asarray(threshold))
    _, groups = np.unique(np.asarray(patients), return_inverse=True)
    found = _points(cases)
    samples = _resamples(groups, rounds, np.random.default_rng(seed))
    again = [_points(cases[sample]) for sample in samples]
    return Figures(
        n=len(cases.truth),
        positives=int(cases.truth.sum()),
        patients=int(groups.max()) + 1,
        auroc=found.auroc,
        auroc_ci95=_interval([one.auroc for one in again]),
        sensitivity=found.sensitivity,
        sensitivity_ci95=_interval([one.sensitivity for one in again]),
        specificity=found.specificity,
        specificity_ci95=_interval([one.specificity for one in again]),
        ece=found.ece,
        ece_ci95=_interval([one.ece for one in again]),
        ece_bound95=_ece_by_chance(likely, seed, rounds),
        slope=found.slope,
        slope_ci95=_interval([one.slope for one in again]),
    )


def _ece_by_chance(probability: Array, seed: int, rounds: int) -> float:
    found = [ece(truth, probability) for truth in drawn_truths(probability, rounds, seed)]
    return round(float(np.quantile([one for one in found if one is not None], 0.95)), 4)


def _interval(values: Sequence[float | None]) -> Pair | None:
    """95 % of `values`, one of each sample; None where fewer than half of them have one."""
    known = [value for value in values if value is not None]
    if len(known) < max(1, len(values) // 2):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def auroc(truth: Array, probability: Array) -> float | None:
    """Area under the ROC curve by ranks, ties shared (Hanley & McNeil 1982).

    None when all truths are alike.
    """
    positives = truth == 1
    with_it, without = int(positives.sum()), int((~positives).sum())
    if with_it == 0 or without == 0:
        return None
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positives].sum() - with_it * (with_it + 1) / 2) / (with_it * without))


def ece(truth: Array, probability: Array) -> float | None:
    """Expected calibration error over ten bins of equal width (Naeini 2015)."""
    return float(
        sum(abs(mean - rate) * count for mean, rate, count in reliability(truth, probability))
        / len(truth)
    )


def reliability(truth: Array, probability: Array) -> list[tuple[float, float, int]]:
    """For each filled bin: mean probability, observed rate, cases."""
    which = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    found = []
    for number in range(_BINS):
        inside = which == number
        if inside.any():
            found.append(
                (float(probability[inside].mean()), float(truth[inside].mean()), int(inside.sum()))
            )
    return found


def roc(truth: Array, probability: Array, max_points: int = 40) -> list[Pair]:
    """The ROC curve as points (1 - specificity, sensitivity) from (0, 0) to (1, 1).

    Ties are one step. Points are thinned evenly along the curve, to at most `max_points`. Empty
    when all truths are alike.
    """
    if auroc(truth, probability) is None:
        return []
    levels, place = np.unique(-probability, return_inverse=True)
    hits = np.cumsum(np.bincount(place, truth, len(levels))) / truth.sum()
    alarms = np.cumsum(np.bincount(place, 1 - truth, len(levels))) / (1 - truth).sum()
    alarms, hits = np.concatenate([[0.0], alarms]), np.concatenate([[0.0], hits])
    kept = np.arange(len(hits))
    if len(hits) > max_points:
        along = np.linspace(0.0, 2.0, max_points) - 1e-9
        kept = np.unique(np.searchsorted(alarms + hits, along))
    return [(float(alarms[i]), float(hits[i])) for i in kept]


def _share(marks: Marks) -> float | None:
    return float(marks.mean()) if len(marks) else None
