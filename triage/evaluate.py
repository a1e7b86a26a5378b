"""Measures a package on labelled images: the serving path from files to probabilities, then the card's figures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from triage.decode import Jail
from triage.errors import NotAnalysed
from triage.figures import Figures, measure
from triage.flagging import Judgement, judge
from triage.frames import Frame
from triage.jail import Request
from triage.packages import Package
from triage.prepare import prepare
from triage.screening import Screener

Array = NDArray[np.float32]
_BATCH = 64
_MOST_PIXELS = 64_000_000


class EvaluateError(Exception):
    """The labels or an image cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Labelled:
    """One case: one file, its truth, and whose it is (empty: a patient of its own)."""

    file: Path
    truth: int
    patient: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Figures over all cases, abstained ones included; `outside` says what was outside the intended use."""

    package: str
    version: str
    figures: Figures
    abstained: int
    threshold: float
    outside: str
    truth: tuple[int, ...]
    probability: tuple[float, ...]

    def document(self) -> dict[str, Any]:
        """The JSON of ``vigie evaluate --json``."""
        head = {"package": self.package, "version": self.version, "threshold": self.threshold, "abstained": self.abstained}
        return {**head, "outside_intended_use": self.outside, **asdict(self.figures)}


def read_labels(labels: Path, images: Path) -> list[Labelled]:
    """The cases of a CSV with the columns ``file`` and ``truth`` (0 or 1), and perhaps ``patient_id``.

    Raises:
        EvaluateError: a column is missing, a truth is neither 0 nor 1, a file is not there or outside `images`.
    """
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluateError(f"{labels.name}: {error}") from None
    found = []
    for number, row in enumerate(rows, 2):
        if not row.get("file") or row.get("truth") not in ("0", "1"):
            raise EvaluateError(f"{labels.name}, line {number}: the columns file and truth (0 or 1) are needed")
        path = (images / row["file"]).resolve()
        if not path.is_relative_to(images.resolve()) or not path.is_file():
            raise EvaluateError(f"{labels.name}, line {number}: {row['file']} is not in {images}")
        found.append(Labelled(path, int(row["truth"]), row.get("patient_id") or f"case {number}"))
    if not found:
        raise EvaluateError(f"{labels.name}: no case")
    return found


def evaluate(package: Package, cases: Sequence[Labelled], *, seed: int = 0) -> Evaluation:
    """Runs every case through decoding, preparation, network and judgement as served.

    Raises:
        EvaluateError: a file is neither DICOM, PNG nor JPEG, or cannot be decoded.
    """
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    jail = Jail(1)
    judgements: list[Judgement] = []
    pictures = 0
    try:
        for start in range(0, len(cases), _BATCH):
            series = []
            for case in cases[start : start + _BATCH]:
                frames, dicom = _frames(case.file, jail, axial=spec.kind == "head_ct", side=spec.side)
                pictures += not dicom
                series.append(_prepared(frames, package, case.file))
            logits = screener.scores(np.concatenate(series))
            ends = np.cumsum([len(images) for images in series])
            judgements += [judge(package, logits[end - len(images) : end], images) for end, images in zip(ends, series, strict=True)]
    finally:
        jail.close()
    truth = tuple(case.truth for case in cases)
    probability = tuple(judgement.probability for judgement in judgements)
    threshold = package.manifest.operating.threshold
    return Evaluation(
        package.name, package.version, measure(truth, probability, [case.patient for case in cases], threshold, seed=seed),
        sum(judgement.outcome == "not_analysed" for judgement in judgements), threshold, _outside(package, pictures, len(cases)),
        truth, probability,
    )  # fmt: skip


def _frames(file: Path, jail: Jail, *, axial: bool, side: int) -> tuple[list[Frame], bool]:
    with file.open("rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        try:
            return jail.decode(Request((str(file),), 24, axial, side)), True
        except NotAnalysed as error:
            raise EvaluateError(f"{file.name}: {error.reason.value}") from None
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise EvaluateError(f"{file.name}: more than {_MOST_PIXELS} pixels")
            pixels = np.asarray(picture.convert("I;16" if picture.mode.startswith("I") else "L"), np.float32)
            full = 65535.0 if picture.mode.startswith("I") else 255.0
    except (OSError, UnidentifiedImageError, ValueError):
        raise EvaluateError(f"{file.name}: neither DICOM, PNG nor JPEG, or damaged") from None
    return [Frame(np.asarray(pixels / full, np.float32), "display")], False


def _prepared(frames: Sequence[Frame], package: Package, file: Path) -> Array:
    try:
        return prepare(frames, package.input)
    except ValueError as error:
        raise EvaluateError(f"{file.name}: {error}") from None


def _outside(package: Package, pictures: int, cases: int) -> str:
    if not pictures:
        return ""
    said = f"{pictures} of {cases} cases are pictures without a DICOM header: modality, body part and age were not checked"
    age = package.manifest.eligible.age_years
    return said + (f"; the package is meant for {age[0]:g} to {age[1]:g} years" if age else "")
