"""Figures of merit with their 95 % bootstrap intervals, resampled by patient (Efron 1979; clusters: Field & Welsh 2007)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
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
    truth: Sequence[int], probability: Sequence[float], patients: Sequence[str], threshold: float, *, seed: int = 0, rounds: int = 1000
) -> Figures:
    """The figures of calibrated probabilities 0..1 against truths 0 or 1. Raises ValueError without a case."""
    if not truth:
        raise ValueError("no case to measure")
    y, p = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    _, group = np.unique(np.asarray(patients), return_inverse=True)
    members = [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]
    rng = np.random.default_rng(seed)
    samples = [np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))]) for _ in range(rounds)]

    def both(of: Callable[[Array, Array], float | None]) -> tuple[float | None, Pair | None]:
        value = of(y, p)
        again = [v for v in (of(y[s], p[s]) for s in samples) if v is not None]
        if value is None or len(again) < rounds // 2:
            return value, None
        low, high = np.quantile(again, (0.025, 0.975))
        return value, (round(float(low), 4), round(float(high), 4))

    auc, sens = both(auroc), both(lambda a, b: _share(b[a == 1] >= threshold))
    spec, error = both(lambda a, b: _share(b[a == 0] < threshold)), both(ece)
    return Figures(len(y), int(y.sum()), len(members), *auc, *sens, *spec, *error)


def auroc(truth: Array, probability: Array) -> float | None:
    """Area under the ROC curve by ranks, ties shared (Hanley & McNeil 1982); None when all truths are alike."""
    positives = truth == 1
    n, m = int(positives.sum()), int((~positives).sum())
    if n == 0 or m == 0:
        return None
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positives].sum() - n * (n + 1) / 2) / (n * m))


def ece(truth: Array, probability: Array) -> float | None:
    """Expected calibration error over ten bins of equal width (Naeini 2015)."""
    return float(sum(abs(mean - rate) * count for mean, rate, count in reliability(truth, probability)) / len(truth))


def reliability(truth: Array, probability: Array) -> list[tuple[float, float, int]]:
    """For each filled bin: mean probability, observed rate, cases."""
    which = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    found = []
    for bin_ in range(_BINS):
        inside = which == bin_
        if inside.any():
            found.append((float(probability[inside].mean()), float(truth[inside].mean()), int(inside.sum())))
    return found


def _share(marks: NDArray[np.bool_]) -> float | None:
    return float(marks.mean()) if len(marks) else None
