"""The labelled cases of a site's own set: a CSV with a file and a truth on each line."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class EvaluateError(Exception):
    """The labels or an image cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Labelled:
    """One case: a file, or a folder of one DICOM series; its truth and whose it is.

    Attributes:
        named: the CSV and the line that name it; empty: none does.
    """

    file: Path
    truth: int
    patient: str
    named: str = ""

    @property
    def where(self) -> str:
        """The case in a message."""
        return f"{self.named}: {self.file.name}" if self.named else self.file.name


def read_labels(labels: Path, images: Path) -> list[Labelled]:
    """The cases of a CSV with the columns `file` and `truth` (0 or 1), and perhaps `patient_id`.

    Raises:
        EvaluateError: a column is missing, a truth is neither 0 nor 1, a file is not there or
            outside `images`, or has both truths.
    """
    found = []
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            # Where a comma is in the numbers (French, German) spreadsheets write semicolons.
            rows = csv.DictReader(file, delimiter=";" if ";" in head and "," not in head else ",")
            for row in rows:
                found.append(
                    _case(row, f"{labels.name}, line {rows.line_num}", rows.line_num, images)
                )
    except UnicodeDecodeError:
        raise EvaluateError(f"{labels.name}: no UTF-8; save it as CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        raise EvaluateError(f"{labels.name}: {error}") from None
    if not found:
        raise EvaluateError(f"{labels.name}: no case")
    first = dict[Path, Labelled]()
    for case in found:
        if first.setdefault(case.file, case).truth != case.truth:
            raise EvaluateError(f"{case.where}: has truth {1 - case.truth} in another line")
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
        path, int(values["truth"]), values.get("patient_id") or f"of line {line} alone", where
    )
