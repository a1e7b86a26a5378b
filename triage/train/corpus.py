"""The labelled images that a package learns from: `labels.csv` and its pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
_SEXES = {"f": "female", "m": "male"}


@dataclass(frozen=True)
class Case:
    """One labelled image.

    Attributes:
        truth: 1 is the finding.
        source: the data set that it is of.
        fold: of that set, split by patient.
        kinds: of what was found, as the set names them; empty where nothing was.
        age: whole years; None where the set does not say.
        sex: female or male; empty where the set does not say.
    """

    file: Path
    truth: int
    patient: str
    source: str
    fold: str
    kinds: tuple[str, ...] = ()
    age: float | None = None
    sex: str = ""


def read_cases(images: Path, sources: Sequence[str]) -> list[Case]:
    """The cases of those sources in ``labels.csv``. Raises OSError when it is not there."""
    with (images / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in sources]
    return [
        Case(
            images / row["file"],
            int(row["urgent"]),
            row["patient_id"],
            row["set"],
            row["fold"],
            tuple(row["label"].lower().split("|")) if int(row["urgent"]) else (),
            float(row["age"]) if row["age"] else None,
            _SEXES.get(row["sex"][:1].lower(), ""),
        )
        for row in rows
    ]


def read_image(file: Path) -> Array:
    """A picture as float32 0..1 [rows, columns]."""
    with Image.open(file) as picture:
        return np.asarray(np.asarray(picture.convert("L"), np.float32) / 255, np.float32)
