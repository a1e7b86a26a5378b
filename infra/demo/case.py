"""What the demo knows of a study that it makes up: patient, order, images, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["head_ct", "chest", "knee", "abdomen", "picture"]
Situation = Literal[
    "",
    "prone",
    "hole",
    "french",
    "dose_page",
    "film",
    "prior",
    "pet_ct",
    "tomosynthesis",
    "damaged",
    "icon",
]
Story = Literal[
    "",
    "status_after_stat",
    "addendum",
    "transfer",
    "test_message",
    "trauma",
    "downtime",
    "two_hospitals",
]
Act = Literal[
    "order",
    "order_again",
    "ehr_order",
    "booking",
    "images",
    "images_again",
    "late_images",
    "damaged_images",
    "preliminary",
    "final",
    "cancel",
    "merge",
    "broken_file",
    "bad_message",
    "poison",
    "status",
    "addendum",
    "transfer",
    "test_order",
    "trauma",
    "backlog",
    "twin_order",
]
#: Acts that order the case's exam.
ORDERS = frozenset({"order", "ehr_order", "booking", "trauma", "backlog"})

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
    ought to be found. `situation`: what is odd about its images (`situations`); `story`: about its
    messages (`stories`).
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
    situation: Situation = ""
    story: Story = ""

    @property
    def rows(self) -> int:
        """How many rows of the list it is: two of PET and CT, and of two hospitals."""
        return 2 if self.situation == "pet_ct" or self.story == "two_hospitals" else 1

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
