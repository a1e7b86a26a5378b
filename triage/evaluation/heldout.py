"""A card's figures once more, from the labelled images that they were measured on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from triage.evaluation.evaluate import Scored, score
from triage.evaluation.figures import Figures, measure
from triage.evaluation.labels import EvaluateError, Labelled
from triage.judging.flagging import highest, probability
from triage.packages.load import Package
from triage.packages.manifest import Result

LABELS = "labels.csv"
#: bf16, where the processor has it, moves single cases.
TOLERANCE = 0.02
_FIGURES = ("auroc", "sensitivity", "specificity", "ece")


def differences(package: Package, images: Path) -> list[str]:
    """What differs between the card and a new measurement; empty: nothing.

    Compared is what was measured on all cases of a source, as its pictures.

    Args:
        images: a folder with `labels.csv`.

    Raises:
        EvaluateError: the package does not say which fold was held out, or its cases are not in
            `images`.
    """
    found = list[str]()
    results = [one for one in package.manifest.results if not one.group and one.shown == "pictures"]
    for source in dict.fromkeys(result.source for result in results):
        cases = held_out(package, source, images)
        scored = list(score(package, cases))
        for stated in (result for result in results if result.source == source):
            found += _compare(stated, _measured(package, stated.unit, cases, scored))
    return found


def held_out(package: Package, source: str, images: Path) -> list[Labelled]:
    """The cases of `source` that the package never saw.

    Of its first result's source that is one fold, of any other all.
    """
    training, first = package.manifest.training, package.manifest.results[0].source
    if not training.held_out:
        raise EvaluateError(
            f"{package.name}: training.held_out does not say which fold it never saw"
        )
    try:
        with (images / LABELS).open(newline="", encoding="utf-8") as file:
            rows = [
                row
                for row in csv.DictReader(file)
                if row["set"] == source and (source != first or row["fold"] == training.held_out)
            ]
            cases = [
                Labelled(images / row["file"], int(row["urgent"]), row["patient_id"])
                for row in rows
            ]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise EvaluateError(f"{LABELS} of {images}: {error!r}") from None
    if not cases:
        raise EvaluateError(f"{LABELS} of {images}: no case of {source}")
    return cases


def _measured(
    package: Package, unit: str, cases: Sequence[Labelled], scored: Sequence[Scored]
) -> Figures:
    """By image, or each patient's images as one series.

    A series has the finding where one of its images has it.
    """
    patients = [case.patient for case in cases]
    if unit == "image":
        groups = [[i] for i in range(len(cases))]
    else:
        groups = [
            [i for i, patient in enumerate(patients) if patient == one]
            for one in sorted(set(patients))
        ]
    truth = [max(cases[i].truth for i in group) for group in groups]
    manifest = package.manifest
    scale = manifest.output.image if unit == "image" else manifest.output.series
    logits = (
        highest(np.concatenate([scored[i].logits for i in group]), manifest.operating.top_k)
        for group in groups
    )
    likely = [probability(logit, scale) for logit in logits]
    return measure(
        truth, likely, [patients[group[0]] for group in groups], scale.threshold, rounds=2
    )


def _compare(stated: Result, figures: Figures) -> list[str]:
    what, found = f"{stated.source} by {stated.unit}", []
    for name in ("n", "positives", "patients"):
        if getattr(stated, name) != getattr(figures, name):
            found.append(
                f"{what}: {name} is {getattr(figures, name)}, the card says {getattr(stated, name)}"
            )
    for name in _FIGURES:
        said, measured = getattr(stated, name), getattr(figures, name)
        if said is None and measured is None:
            continue
        if said is None or measured is None or abs(said - measured) > TOLERANCE:
            shown = "none" if measured is None else f"{measured:.3f}"
            found.append(f"{what}: {name} is {shown}, the card says {said}")
    return found
