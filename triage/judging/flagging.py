"""Raw scores of a series become a flag, no flag, or an abstention."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.judging.bodies import Unlike
from triage.packages.load import Package
from triage.packages.manifest import Abstention, Scale

Array = NDArray[np.float32]
Outcome = Literal["flagged", "not_flagged", "not_analysed"]


@dataclass(frozen=True)
class Doubt:
    """What a guard says of a series.

    Attributes:
        foreign: 0 to 1; the series is unlike what was learned from where it is `max_foreign` or
            more.
        spread: standard deviation of the members' logits, mean of the images that count.
    """

    foreign: float
    spread: float


@dataclass(frozen=True)
class Judgement:
    """What a package says of one series.

    Attributes:
        reason: only with `not_analysed`.
        probability: calibrated, 0 to 1; there in every outcome, as `threshold` and `score` are.
        score: raw, before calibration.
        doubt: None where the package has no guard.
        unlike: what told that the series is out of distribution, where it is.
    """

    outcome: Outcome
    reason: Reason | None
    probability: float
    threshold: float
    score: float
    doubt: Doubt | None = None
    unlike: Unlike | None = None


def judge(package: Package, scores: Array, unlike: Unlike | None = None) -> Judgement:
    """The judgement of one series, for the package's first output.

    Args:
        scores: finite; one logit of each slice or film, [n], or, of a package that abstains,
            [n, 3] as `Guarded` gives them.
        unlike: what was measured of the body told that it is another part of one
            (`bodies.unlike_stacks`). It is not judged then, not even where it would be flagged: so
            it is where the guard tells it. But where the guard knows what the network saw, no
            skull that is missing takes a flag: surgeons open skulls on both sides.
    """
    manifest, table = package.manifest, scores.reshape(len(scores), -1)
    scale, top_k = manifest.scale(len(table)), manifest.operating.top_k
    score = highest(table[:, 0], top_k)
    likely = probability(score, scale)
    doubt = _doubt(manifest.abstention, table, top_k) if manifest.abstention else None
    outcome: Outcome = "flagged" if likely >= scale.threshold else "not_flagged"
    if manifest.abstention and doubt:
        if doubt.foreign >= manifest.abstention.max_foreign:
            unlike = unlike or "features"
        elif unlike == "skull" and outcome == "flagged":
            unlike = None
    reason = Reason.OUT_OF_DISTRIBUTION if unlike else _unsure(manifest.abstention, doubt, outcome)
    if reason is not None:
        outcome = "not_analysed"
    return Judgement(outcome, reason, likely, scale.threshold, score, doubt, unlike)


def _doubt(rule: Abstention, table: Array, top_k: int) -> Doubt:
    """That of the image up to which there are as many familiar ones as the rule asks for."""
    last = max(1, ceil(rule.min_share * len(table))) - 1
    foreign = probability(float(np.sort(table[:, 1])[last]))
    counting = np.argsort(table[:, 0])[::-1][:top_k]
    return Doubt(foreign, float(table[counting, 2].mean()))


def _unsure(rule: Abstention | None, doubt: Doubt | None, outcome: Outcome) -> Reason | None:
    """A flag of what it knows stands, however far the members are apart."""
    if rule is None or doubt is None or outcome == "flagged":
        return None
    return Reason.UNSURE if doubt.spread > rule.max_spread else None


def highest(logits: Array, top_k: int) -> float:
    """The logit of a series: the mean of its `top_k` highest images."""
    return float(np.sort(logits)[::-1][:top_k].mean())


def probability(logit: float, scale: Scale | None = None) -> float:
    """What `logit` means on `scale`, 0 to 1 (Platt 1999); without one it is taken as it is."""
    if scale is not None:
        logit = scale.slope * logit + scale.intercept
    return float(np.exp(-np.logaddexp(0.0, -logit)))
