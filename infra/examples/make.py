"""Draws the example's image: ``python -m infra.examples.make`` writes `image.dcm`; a test finds one
that is stale. Nobody is in it: the film is a phantom, the child's name is made up.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from infra.demo.case import EXPLICIT, Case, Patient
from infra.demo.dicom_files import instances

TARGET = Path(__file__).parent / "image.dcm"
#: What `order.hl7` asks for: the same numbers join the two.
CASE = Case(
    number=1,
    accession="EX0001",
    study_uid="2.25.311560847286451827367253184940318301",
    patient=Patient("EX-P1", "Example", "Eva", "20220905", "F"),
    kind="chest",
    finding="opacity",
    priority="R",
    location="O",
    syntax=EXPLICIT,
    seed=7,
    age="003Y",
    read_s=0.0,
)


def image() -> Dataset:
    """The film, 512 × 512 pixels of 12 bits, uncompressed: any sender can send it."""
    (film,) = instances(CASE, datetime(2026, 3, 14, 9, 30, tzinfo=UTC))
    return film


if __name__ == "__main__":
    image().save_as(TARGET, enforce_file_format=True)
