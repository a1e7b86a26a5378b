"""Whether probabilities mean what they say: their calibration's slope, and what chance does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEPS, _STEEPEST = 50, 50.0
_SURE = 1e-6  # a probability of 0 or 1 has no logit


def slope_of(truth: Array, probability: Array) -> float | None:
    """Slope of the logistic regression of `truth` on the logits of `probability` (Cox 1958).

    1 of a calibrated model; below 1 it says too much. None where truths are all alike, or the
    logits part them.
    """
    if len(np.unique(truth)) < 2:
        return None
    sure = np.clip(probability, _SURE, 1 - _SURE)
    logits = np.log(sure / (1 - sure))
    slope = intercept = 0.0
    for _ in range(_STEPS):  # Newton's, of two unknowns: a bootstrap asks a thousand times
        likely = 1 / (1 + np.exp(-np.clip(slope * logits + intercept, -30, 30)))
        weight, wrong = likely * (1 - likely), truth - likely
        both, one, none = weight @ (logits * logits), weight @ logits, weight.sum()
        curve = both * none - one * one
        if curve <= 1e-9 * both * none:
            return None
        more = (none * (wrong @ logits) - one * wrong.sum()) / curve
        intercept += (both * wrong.sum() - one * (wrong @ logits)) / curve
        slope += more
        if abs(slope) > _STEEPEST:
            return None
        if abs(more) < 1e-8:
            return float(slope)
    return None


def drawn_truths(probability: Array, rounds: int, seed: int) -> NDArray[np.float64]:
    """Truths, [rounds, n], as they fall where each probability is right (Bröcker & Smith 2007)."""
    drawn = np.random.default_rng(seed).random((rounds, len(probability)))
    return (drawn < probability).astype(np.float64)
