"""Raw scores of a series become flagged, not flagged, or an abstention: calibration, operating
point, distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from triage.packages.load import Package, Scale, Typical

Array = NDArray[np.float32]
THUMBNAIL = 16  # pixels a side


@dataclass(frozen=True)
class Judgement:
    """What a package says of one series. `probability` is calibrated, 0 to 1, and is there in every
    outcome, as its threshold is.
    """

    outcome: Literal["flagged", "not_flagged", "not_analysed"]
    reason: Literal["out_of_distribution"] | None
    probability: float
    threshold: float


def judge(package: Package, logits: Array, images: Array) -> Judgement:
    """The judgement of one series.

    Args:
        logits: finite raw scores [n], one of each slice or film.
        images: what the network read, [n, c, h, w].
    """
    manifest = package.manifest
    near = distances(package.typical, images) <= manifest.abstention.max_distance
    scale = manifest.scale(len(logits))
    likely = probability(highest(logits, manifest.operating.top_k), scale)
    if float(near.mean()) < manifest.abstention.min_share:
        return Judgement("not_analysed", "out_of_distribution", likely, scale.threshold)
    return Judgement(
        "flagged" if likely >= scale.threshold else "not_flagged", None, likely, scale.threshold
    )


def highest(logits: Array, top_k: int) -> float:
    """The logit of a series: the mean of its `top_k` highest images."""
    return float(np.sort(logits)[::-1][:top_k].mean())


def probability(logit: float, scale: Scale) -> float:
    """What `logit` means on `scale`, 0 to 1 (Platt 1999)."""
    return float(1.0 / (1.0 + np.exp(-(scale.slope * logit + scale.intercept))))


def thumbnails(images: Array) -> Array:
    """Images [n, c, h, w] as small grey pictures [n, p] of zero mean: what `Typical` is made of."""
    n, channels, height, width = images.shape
    cells = _strips(height) @ (images @ _strips(width).T)
    flat = cells.reshape(n, channels * THUMBNAIL**2)
    return np.asarray(flat - flat.mean(1, keepdims=True), np.float32)


@cache
def _strips(side: int) -> Array:
    """[THUMBNAIL, side]: a row has the mean of one strip of `side` pixels. (A product takes a third
    of the time of `reduceat`.)
    """
    strips = np.zeros((THUMBNAIL, side), np.float32)
    strips[np.arange(side) * THUMBNAIL // side, np.arange(side)] = THUMBNAIL / side
    return strips


def distances(typical: Typical, images: Array) -> Array:
    """How far each image [n] lies from the training images: 1 is a usual distance."""
    rest = thumbnails(images) - typical.mean
    rest = rest - (rest @ typical.basis.T) @ typical.basis
    return np.asarray(np.sqrt((rest**2).mean(1)) / typical.scale, np.float32)
