"""Figures of merit with their 95 % bootstrap intervals, resampled by patient (Efron 1979; clusters:
Field & Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]
Pair = tuple[float, float]
_BINS = 10


@dataclass(frozen=True)
class Figures:
    """What was measured on `n` cases; None where a figure cannot be computed (all cases alike)."""

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


def measure(
    truth: Sequence[int],
    probability: Sequence[float],
    patients: Sequence[str],
    threshold: float | Sequence[float],
    *,
    seed: int = 0,
    rounds: int = 1000,
) -> Figures:
    """The figures of calibrated probabilities 0..1 against truths 0 or 1; `threshold` for all, or
    of each case.

    Raises ValueError without a case.
    """
    if not truth:
        raise ValueError("no case to measure")
    y, p = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    flagged = p >= np.asarray(threshold)
    _, group = np.unique(np.asarray(patients), return_inverse=True)
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    firsts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    figures: tuple[Callable[[Array, Array, Marks], float | None], ...] = (
        lambda a, b, _: auroc(a, b),
        lambda a, _, f: _share(f[a == 1]),
        lambda a, _, f: _share(~f[a == 0]),
        lambda a, b, _: ece(a, b),
    )
    again: tuple[list[float], ...] = tuple([] for _ in figures)
    for _ in range(rounds):  # one sample at a time: all of them are a thousand times the set
        drawn = rng.integers(0, len(sizes), len(sizes))
        many = sizes[drawn]
        sample = order[
            np.repeat(firsts[drawn] - (np.cumsum(many) - many), many) + np.arange(many.sum())
        ]
        one = y[sample], p[sample], flagged[sample]
        for values, of in zip(again, figures, strict=True):
            if (value := of(*one)) is not None:
                values.append(value)
    found = [
        part
        for of, values in zip(figures, again, strict=True)
        for part in (of(y, p, flagged), _interval(values, rounds))
    ]
    return Figures(len(y), int(y.sum()), len(sizes), *found)  # type: ignore[arg-type]


def _interval(values: Sequence[float], rounds: int) -> Pair | None:
    """95 % of `values`, None where fewer than half of the samples had one."""
    if len(values) < max(1, rounds // 2):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def auroc(truth: Array, probability: Array) -> float | None:
    """Area under the ROC curve by ranks, ties shared (Hanley & McNeil 1982); None when all truths
    are alike.
    """
    positives = truth == 1
    n, m = int(positives.sum()), int((~positives).sum())
    if n == 0 or m == 0:
        return None
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positives].sum() - n * (n + 1) / 2) / (n * m))


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
    for bin_ in range(_BINS):
        inside = which == bin_
        if inside.any():
            found.append(
                (float(probability[inside].mean()), float(truth[inside].mean()), int(inside.sum()))
            )
    return found


def roc(truth: Array, probability: Array, most: int = 40) -> list[Pair]:
    """The ROC curve as at most `most` points (1 - specificity, sensitivity) from (0, 0) to (1, 1),
    ties as one step.

    Points are thinned evenly along the curve. Empty when all truths are alike.
    """
    if auroc(truth, probability) is None:
        return []
    levels, place = np.unique(-probability, return_inverse=True)
    hits = np.cumsum(np.bincount(place, truth, len(levels))) / truth.sum()
    misses = np.cumsum(np.bincount(place, 1 - truth, len(levels))) / (1 - truth).sum()
    x, y = np.concatenate([[0.0], misses]), np.concatenate([[0.0], hits])
    kept = (
        np.unique(np.searchsorted(x + y, np.linspace(0.0, 2.0, most) - 1e-9))
        if len(x) > most
        else np.arange(len(x))
    )
    return [(float(x[i]), float(y[i])) for i in kept]


def _share(marks: Marks) -> float | None:
    return float(marks.mean()) if len(marks) else None
