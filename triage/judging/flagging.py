"""Raw scores of a series become a flag, no flag, or an abstention."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.packages.load import Package, TrainingDistribution
from triage.packages.manifest import Scale

Array = NDArray[np.float32]
THUMBNAIL = 16  # pixels a side


@dataclass(frozen=True)
class Judgement:
    """What a package says of one series.

    Attributes:
        reason: only with `not_analysed`.
        probability: calibrated, 0 to 1; there in every outcome, as `threshold` and `score` are.
        score: raw, before calibration.
    """

    outcome: Literal["flagged", "not_flagged", "not_analysed"]
    reason: Reason | None
    probability: float
    threshold: float
    score: float


def judge(package: Package, logits: Array, images: Array) -> Judgement:
    """The judgement of one series.

    Args:
        logits: finite raw scores [n], one of each slice or film.
        images: what the network read, [n, c, h, w].
    """
    manifest = package.manifest
    near = distances(package.training_distribution, images) <= manifest.abstention.max_distance
    scale = manifest.scale(len(logits))
    score = highest(logits, manifest.operating.top_k)
    likely = probability(score, scale)
    measured = (likely, scale.threshold, score)
    if float(near.mean()) < manifest.abstention.min_share:
        return Judgement("not_analysed", Reason.OUT_OF_DISTRIBUTION, *measured)
    return Judgement("flagged" if likely >= scale.threshold else "not_flagged", None, *measured)


def highest(logits: Array, top_k: int) -> float:
    """The logit of a series: the mean of its `top_k` highest images."""
    return float(np.sort(logits)[::-1][:top_k].mean())


def probability(logit: float, scale: Scale) -> float:
    """What `logit` means on `scale`, 0 to 1 (Platt 1999)."""
    return float(1.0 / (1.0 + np.exp(-(scale.slope * logit + scale.intercept))))


def thumbnails(images: Array) -> Array:
    """Images [n, c, h, w] as small grey pictures [n, p] of zero mean.

    `TrainingDistribution` is made of these.
    """
    count, channels, height, width = images.shape
    cells = _strips(height) @ (images @ _strips(width).T)
    flat = cells.reshape(count, channels * THUMBNAIL**2)
    return np.asarray(flat - flat.mean(1, keepdims=True), np.float32)


@cache
def _strips(side: int) -> Array:
    """[THUMBNAIL, side]: a row has the mean of one strip of `side` pixels.

    A product with it takes a third of the time of `reduceat`.
    """
    strips = np.zeros((THUMBNAIL, side), np.float32)
    strips[np.arange(side) * THUMBNAIL // side, np.arange(side)] = THUMBNAIL / side
    return strips


def distances(training_distribution: TrainingDistribution, images: Array) -> Array:
    """How far each image [n] lies from the training images: 1 is a usual distance."""
    rest = thumbnails(images) - training_distribution.mean
    rest = rest - (rest @ training_distribution.basis.T) @ training_distribution.basis
    return np.asarray(np.sqrt((rest**2).mean(1)) / training_distribution.scale, np.float32)
