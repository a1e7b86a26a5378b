"""Measures a package on labelled images: the serving path from files to probabilities, then the
card's figures.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.decoding.pool import Jail
from triage.errors import NotAnalysed
from triage.evaluation.cases import PICTURE, PLANE, WINDOWED, is_dicom, read
from triage.evaluation.figures import Figures, measure
from triage.inference.network import Screener
from triage.judging.flagging import Judgement, judge
from triage.packages.load import Package

Array = NDArray[np.float32]
_BATCH = 64  # cases in memory at once
_READERS = min(4, os.cpu_count() or 1)
_SAID: dict[str, str] = {
    PICTURE: "pictures without a DICOM header: modality, body part and age were not checked",
    PLANE: "no axial slices for brain (scouts, other planes, bone kernels)",
    WINDOWED: "CT, shown in a soft-tissue window",
    Reason.OUTSIDE_MODALITY: "of another modality",
    Reason.OUTSIDE_BODY_PART: "of another or no stated body part",
    Reason.OUTSIDE_AGE: "of another or no stated age",
    Reason.OUTSIDE_VIEW: "of another view",
}


class EvaluateError(Exception):
    """The labels or an image cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Labelled:
    """One case: a file, or a folder of one DICOM series; its truth, whose it is, and the line of
    the CSV that names it.
    """

    file: Path
    truth: int
    patient: str
    line: int = 0

    @property
    def where(self) -> str:
        """The case in a message."""
        return f"line {self.line}: {self.file.name}" if self.line else self.file.name


@dataclass(frozen=True)
class Scored:
    """What the serving path says of one case: raw scores [n], the judgement, and what was outside
    the intended use.
    """

    logits: Array
    judgement: Judgement
    outside: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Figures over all cases, abstained ones included; `outside` says what was outside the intended
    use.

    `threshold`: None where some cases are one image and others several, and theirs differ.
    """

    package: str
    version: str
    figures: Figures
    abstained: int
    threshold: float | None
    outside: str
    truth: tuple[int, ...]
    probability: tuple[float, ...]

    def document(self) -> dict[str, Any]:
        """The JSON of ``vigie evaluate --json``."""
        head = {
            "package": self.package,
            "version": self.version,
            "threshold": self.threshold,
            "abstained": self.abstained,
        }
        return {**head, "outside_intended_use": self.outside, **asdict(self.figures)}


def read_labels(labels: Path, images: Path) -> list[Labelled]:
    """The cases of a CSV with the columns ``file`` and ``truth`` (0 or 1), and perhaps
    ``patient_id``.

    Raises:
        EvaluateError: a column is missing, a truth is neither 0 nor 1, a file is not there or
            outside `images`.
    """
    found = []
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            for row in rows:
                found.append(
                    _case(row, f"{labels.name}, line {rows.line_num}", rows.line_num, images)
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluateError(f"{labels.name}: {error}") from None
    if not found:
        raise EvaluateError(f"{labels.name}: no case")
    return found


def _case(row: dict[str, Any], where: str, line: int, images: Path) -> Labelled:
    values = {
        str(name).strip().lower(): value.strip()
        for name, value in row.items()
        if isinstance(value, str)
    }
    if not values.get("file") or values.get("truth") not in ("0", "1"):
        raise EvaluateError(f"{where}: the columns file and truth (0 or 1) are needed")
    # By name, not by where a link leads: a set made of links is a set.
    path, folder = Path(os.path.abspath(images / values["file"])), Path(os.path.abspath(images))
    if (
        "\0" in values["file"]
        or not path.is_relative_to(folder)
        or path == folder
        or not path.exists()
    ):
        raise EvaluateError(f"{where}: {values['file']} is not in {images}")
    return Labelled(
        path, int(values["truth"]), values.get("patient_id") or f"of line {line} alone", line
    )


def evaluate(package: Package, cases: Sequence[Labelled], *, seed: int = 0) -> Evaluation:
    """Runs every case through decoding, preparation, network and judgement as served, whatever it
    is.

    Raises:
        EvaluateError: a file is neither DICOM, PNG nor JPEG, or cannot be decoded.
    """
    truth = tuple(case.truth for case in cases)
    probability, thresholds, outside, abstained = [], [], Counter[str](), 0
    for scored in score(package, cases):
        probability.append(scored.judgement.probability)
        thresholds.append(scored.judgement.threshold)
        outside.update(scored.outside)
        abstained += scored.judgement.outcome == "not_analysed"
    figures = measure(truth, probability, [case.patient for case in cases], thresholds, seed=seed)
    threshold = thresholds[0] if len(set(thresholds)) == 1 else None
    return Evaluation(
        package.name,
        package.version,
        figures,
        abstained,
        threshold,
        _outside(package, outside, len(cases)),
        truth,
        tuple(probability),
    )


def score(package: Package, cases: Sequence[Labelled]) -> Iterator[Scored]:
    """Each case through the serving path, in order, a batch of them in memory at a time. Raises
    EvaluateError.
    """
    screener = Screener(package, package.input.shape, device="cpu")
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(_READERS, thread_name_prefix="read"))
        jail = (
            stack.enter_context(closing(Jail(_READERS)))
            if any(is_dicom(case.file) for case in cases)
            else None
        )
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            with (
                warnings.catch_warnings()
            ):  # of Pillow's about large pictures and broken EXIF: what matters is an error
                warnings.simplefilter("ignore")
                ready = list(threads.map(partial(_read, package, jail), batch))
            logits = screener.scores(np.concatenate([images for images, _ in ready]))
            if not np.isfinite(logits).all():
                raise EvaluateError(f"{package.name}: the network gave a score that is no number")
            at = 0
            for images, outside in ready:
                mine = logits[at : at + len(images)]
                at += len(images)
                yield Scored(mine, judge(package, mine, images), outside)


def _read(package: Package, jail: Jail | None, case: Labelled) -> tuple[Array, tuple[str, ...]]:
    try:
        return read(package, jail, case.file)
    except NotAnalysed as error:
        raise EvaluateError(f"{case.where}: {error.reason.value}") from None
    except (OSError, ValueError) as error:
        raise EvaluateError(f"{case.where}: {error}") from None


def _outside(package: Package, counts: Counter[str], cases: int) -> str:
    """In words, what was evaluated although the package is not meant for it; empty when it is meant
    for all.
    """
    said = [
        f"{counts[what]} of {cases} cases are {words}"
        for what, words in _SAID.items()
        if counts[what]
    ]
    age = package.manifest.eligible.age_years
    if age and (counts[PICTURE] or counts[Reason.OUTSIDE_AGE]):
        said.append(f"the package is meant for {age[0]:g} to {age[1]:g} years")
    return "; ".join(said)
