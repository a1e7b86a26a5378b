"""What the demo knows of a study that it makes up: patient, order, images, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["head_ct", "chest", "knee", "abdomen", "picture"]
Act = Literal[
    "order",
    "order_again",
    "booking",
    "images",
    "images_again",
    "late_images",
    "preliminary",
    "final",
    "cancel",
    "merge",
    "broken_file",
    "bad_message",
    "poison",
]

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
RLE, JPEG_2000, JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"


@dataclass(frozen=True)
class Patient:
    """Nobody real."""

    id: str
    family: str
    given: str
    birth_date: str
    sex: str


@dataclass(frozen=True)
class Case:
    """One study. `finding` is the truth: which bleed, ``opacity``, or empty; `urgent` whether it
    ought to be found.
    """

    number: int
    accession: str
    study_uid: str
    patient: Patient
    kind: Kind
    finding: str
    priority: str  # HL7 table 0485
    location: str  # HL7 table 0004
    syntax: str
    seed: int
    age: str  # DICOM AS
    read_s: float  # simulated seconds that a reader takes
    ordered: bool = True
    picture: Path | None = None

    @property
    def urgent(self) -> bool:
        """Whether the truth is a finding that should be read soon."""
        return bool(self.finding)


@dataclass(frozen=True, order=True)
class Step:
    """One act of the day, `at` simulated seconds from its beginning."""

    at: float
    act: Act
    case: int


@dataclass(frozen=True)
class Day:
    """The whole scenario: the cases, and in order of time what happens to them."""

    cases: tuple[Case, ...]
    steps: tuple[Step, ...]
