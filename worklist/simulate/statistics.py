"""Means with honest intervals: from independent replications, because waits within one are alike.

95 % everywhere. Each function takes one entry (or one row) per replication.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from worklist.simulate.engine import Floats


class Figure(NamedTuple):
    """A value and the half width of its 95 % interval; NaN where there was nothing to measure."""

    value: float
    half_width: float


def student(degrees: int) -> float:
    """The factor of a two-sided 95 % interval (Student's t), to 0.1 % from 4 degrees of freedom on.

    Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    if degrees < 4:
        return {1: 12.706, 2: 4.303, 3: 3.182}.get(degrees, float("inf"))
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, start=1))


def ratio(sums: Floats, counts: Floats) -> Figure:
    """The mean over all studies of all replications: sum over sum, so that a quiet replication
    counts for less.

    Source: W. G. Cochran, Sampling Techniques (1977), section 6.4, for the interval of a ratio.
    """
    total, number = float(counts.sum()), len(counts)
    if not total:
        return Figure(float("nan"), float("nan"))
    value = float(sums.sum()) / total
    if number < 2:
        return Figure(value, float("nan"))
    spread = float(np.sum((sums - value * counts) ** 2)) * number / (number - 1)
    return Figure(value, student(number - 1) * float(np.sqrt(spread)) / total)


def mean(values: Floats) -> Figure:
    """The mean of what each replication gave; those that gave nothing (NaN) are left out."""
    there = values[~np.isnan(values)]
    return ratio(there, np.ones(len(there)))
