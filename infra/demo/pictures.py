"""Real images for the demo: a folder, and a CSV with the columns ``file`` and ``urgent``."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from infra.demo.case import EXPLICIT, Case, Patient


def read_pictures(folder: Path, labels: Path, seed: int) -> list[Case]:
    """One case for each labelled image that is there, shuffled by `seed`. Raises ValueError when
    there is none.
    """
    with labels.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"file", "urgent"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{labels.name} needs the columns file and urgent")
        rows = [
            row
            for row in reader
            if row["urgent"] in ("0", "1") and (folder / row["file"]).is_file()
        ]
    if not rows:
        raise ValueError(f"no image that {labels.name} names is in {folder}")
    random.Random(seed).shuffle(rows)  # noqa: S311 — a scenario, no secret
    return [_case(folder / row["file"], row) for row in rows]


def _case(path: Path, row: dict[str, str]) -> Case:
    age = row.get("age") or ""
    years = int(float(age)) if age.replace(".", "", 1).isdigit() else None
    nobody = Patient("", "", "", "", "")
    return Case(
        number=0,
        accession="",
        study_uid="",
        patient=nobody,
        kind="picture",
        finding="urgent" if row["urgent"] == "1" else "",
        priority="R",
        location="O",
        syntax=EXPLICIT,
        seed=0,
        age=f"{years:03d}Y" if years is not None else "",
        read_s=300,
        picture=path,
    )
