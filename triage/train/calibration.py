"""From logits to probabilities and a threshold, and what is measured with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage.evaluation.figures import measure, reliability, roc
from triage.judging.flagging import highest, probability
from triage.packages.manifest import Scale
from triage.train.corpus import Case

Array = NDArray[np.float32]
#: Share of those without the finding that must not be flagged.
SPECIFICITY = 0.75
SENSITIVITY = 0.95
CHOSEN = (
    f"where the specificity is {SPECIFICITY:g}, or more while the sensitivity is "
    f"{SENSITIVITY:g}: of images and of series, for networks that never saw their patients"
)


@dataclass(frozen=True)
class Group:
    """Cases that are judged as one: one image, or a patient's slices. `logits` [k]."""

    logits: Array
    truth: int
    patient: str


def singles(cases: Sequence[Case], logits: Array) -> list[Group]:
    """Each image for itself."""
    return [Group(logits[i : i + 1], case.truth, case.patient) for i, case in enumerate(cases)]


def series(cases: Sequence[Case], logits: Array) -> list[Group]:
    """Each patient's slices as one series; it has the finding when one slice has it."""
    found = []
    for patient in sorted({case.patient for case in cases}):
        mine = [i for i, case in enumerate(cases) if case.patient == patient]
        found.append(Group(logits[mine], max(cases[i].truth for i in mine), patient))
    return found


def calibrate(groups: Sequence[Group], top_k: int) -> Scale:
    """Platt scaling, and the threshold.

    It lies where those without the finding have SPECIFICITY, or more while SENSITIVITY holds.
    """
    logits = np.array([highest(group.logits, top_k) for group in groups])
    truths = np.array([group.truth for group in groups])
    slope, intercept = _platt(logits, truths)
    limit = max(
        np.quantile(logits[truths == 0], SPECIFICITY),
        np.quantile(logits[truths == 1], 1 - SENSITIVITY),
    )
    unset = Scale(slope=slope, intercept=intercept, threshold=0.5)
    return unset.model_copy(update={"threshold": round(probability(float(limit), unset), 4)})


def _platt(logits: NDArray[Any], truths: NDArray[Any]) -> tuple[float, float]:
    """Slope and intercept, by descent."""
    # Platt's own smoothing.
    high, low = (truths.sum() + 1) / (truths.sum() + 2), 1 / ((1 - truths).sum() + 2)
    wanted = np.where(truths == 1, high, low)
    slope, intercept = 1.0, 0.0
    for _ in range(5000):
        wrong = 1 / (1 + np.exp(-(slope * logits + intercept))) - wanted
        intercept -= 1.0 * float(wrong.mean())
        slope = max(0.05, slope - 0.3 * float((wrong * logits).mean()))
    return float(slope), float(intercept)


def result(
    source: str, unit: str, groups: Sequence[Group], scale: Scale, top_k: int
) -> dict[str, Any]:
    """One row of the card's table, and its curves.

    Those that the package would not judge are in the figures; `record_abstention` counts them.
    """
    likely = [probability(highest(group.logits, top_k), scale) for group in groups]
    truths = [group.truth for group in groups]
    patients = [group.patient for group in groups]
    figures = measure(truths, likely, patients, scale.threshold)
    curves = np.array(truths, np.float64), np.array(likely, np.float64)
    return {
        "source": source,
        "unit": unit,
        "abstained": 0,
        **{name: value for name, value in asdict(figures).items() if value is not None},
        "reliability": reliability(*curves),
        "roc": roc(*curves),
    }
