"""What leaves the web process: a row as API, live feed and page show it, lists, claims, changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)


def iso(time: datetime) -> str:
    """A time as everybody outside gets it: UTC, milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[AwareDatetime, PlainSerializer(iso, return_type=str, when_used="json")]
#: So many ids a finish names as seen at most: they have to fit into one request.
MOST_SEEN = 2000
Ai = Literal["flagged", "withdrawn", "not_flagged", "not_analysed", "pending"]


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class Why(_Out):
    """One term of the rank, as it was kept when the study was ranked."""

    term: str
    target_s: float | None = None
    source: str = ""


class Flag(_Out):
    """One finding that a package suspects, and that no person has withdrawn."""

    package: str
    code: str
    name: str


class ImageCount(_Out):
    """How many images are here, and how many were announced, where somebody said."""

    here: int
    announced: int | None = None


class Row(_Out):
    """One reading item. `key`: rows sorted by it as text are in reading order.

    `age` at the exam, as DICOM writes it: ``045Y``, ``007M``, ``012D``; empty where it is unknown.
    `overtaken_until` (promise 4): a study whose clock starts later than this is read after this one
    in its lane, flagged or not. None while there is nothing to read, and once it is read.
    `ai_unlike`: which rule told that a series is out of distribution (``features``, ``size`` of the
    body, ``skull``), where that is the reason and was said.
    `opened_until`: when the claim of `opened_by` ended, or will. `asked_by`: who would like to have
    what is claimed.
    `borrowed`: numbers of orders that may be this study's and lend it their urgency. `finish_id`:
    the act by which it was read; an undo names it. `fragments` and `reports` (of one study's own
    page alone): what a finish names as seen. `key_image` (there alone): URL of a picture of what
    was flagged, informational.
    """

    study: str
    key: str
    accession: str
    accessions: tuple[str, ...]
    study_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    age: str
    sex: str
    modality: str
    body_part: str
    description: str
    indication: str = ""
    referring: str = ""
    priority: str
    location: str
    site: str
    subspecialty: str
    state: str
    ai: Ai
    ai_reason: str | None
    ai_unlike: str | None
    looked_for: tuple[str, ...]
    flags: tuple[Flag, ...]
    lane: int
    due_at: Time
    target_at: Time
    overtaken_until: Time | None
    received_at: Time
    clock_at: Time
    scheduled_at: Time | None
    last_image_at: Time | None
    report_at: Time | None
    why: tuple[Why, ...]
    policy: str
    marks: tuple[str, ...]
    borrowed: tuple[str, ...]
    siblings: tuple[str, ...]
    images: ImageCount
    coverage: dict[str, bool | int | float | None] | None
    cleared_by: str
    cleared_reason: str
    pinned_by: str
    pinned_reason: str
    outcome: str
    in_reading: str | None
    claimed_by: str | None
    claimed_until: Time | None
    opened_by: str | None
    opened_until: Time | None = None
    asked_by: str | None = None
    asked_reason: str | None = None
    finished_at: Time | None
    finished_by: str
    finish_id: str
    fragments: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    key_image: str | None = None

    @field_validator("key_image")
    @classmethod
    def _as_url(cls, place: str | None, told: ValidationInfo) -> str | None:
        """Where it lies in the store is nobody's business: it is asked for by its study."""
        return place and f"/api/v1/studies/{told.data['study']}/key-image"


class ReportOut(_Out):
    """One report of a study, and what it says; empty where no text was sent."""

    id: str
    status: str
    received_at: Time
    sender: str
    text: str


class BesideOut(_Out):
    """What was said of a study under seal: its reports, the first received first; whether its
    patient is pregnant (null: nobody says) and isolated for what. `sealed`: the key ring cannot
    open it.
    """

    reports: tuple[ReportOut, ...] = ()
    pregnant: bool | None = None
    isolation: str = ""
    sealed: bool = False


class Listing(_Out):
    """A part of the list, in reading order; `after`: the key that it begins after."""

    items: tuple[Row, ...]
    next: str | None
    as_of: Time
    after: str = ""


class FoundOut(_Out):
    """One page of what a search found; `more`: there is another."""

    items: tuple[Row, ...]
    more: bool


class LeasesOut(_Out):
    """What a reader has: by study, until when."""

    leases: dict[str, Time]


class LeaseOut(_Out):
    """A claim: who shows the token may finish or release."""

    token: str
    expires_at: Time


class SiblingOut(_Out):
    """Another study of the same person that belongs with it: whose it is, or the lease on it."""

    study: str
    claimed_by: str | None = None
    lease: LeaseOut | None = None


class Claimed(_Out):
    """What `next` and `claim` answer. `opened_before` names a reader who had it open and did not
    finish.
    """

    study: str
    lease: LeaseOut
    row: Row
    opened_before: str | None = None
    siblings: tuple[SiblingOut, ...] = ()


class PatientOut(_Out):
    """A patient, by the keyed pseudonym of the number."""

    value: str
    authority: str


class SharedNumberOut(_Out):
    """A number that too many patients name, or studies of one patient, by the pseudonym; a `count`
    of 101 stands for more than a hundred.
    """

    kind: str
    authority: str
    value: str
    named_by: Literal["patients", "studies"]
    count: int
    patient: PatientOut | None = None


class SharedNumbers(_Out):
    """The worst of them first."""

    items: tuple[SharedNumberOut, ...]


class ParkedOut(_Out):
    """Something that could not be used: its id, whose it is where a door knew, why, and which field
    of it; never its content.
    """

    id: str
    sender: str
    stage: str
    topic: str
    reason: str
    where: str
    attempts: int
    parked_at: Time


class ParkedList(_Out):
    """What is parked, the newest first."""

    items: tuple[ParkedOut, ...]


class ParkedShape(ParkedOut):
    """The same with the lines of an HL7 message, masked where they may be a patient's."""

    shape: tuple[str, ...]


class ParkedContent(ParkedOut):
    """The same with what was sent."""

    content: str


class SenderRow(_Out):
    """One sender at one door, over all gateways since it was first told of: messages or objects a
    minute over the last ten minutes, answers by code, refusals by reason with the newest of what
    was refused and kept, procedures that its rules keep off the list, and whether nothing was heard
    for longer than it may be silent in this hour (null: the site does not list it).
    """

    sender: str
    door: str
    known_since: Time
    last_at: Time | None
    per_minute: float
    answers: dict[str, int]
    refusals: dict[str, int]
    parked: tuple[ParkedOut, ...]
    not_imaging: dict[str, int]
    silent_after_s: int | None
    silent: bool


class Senders(_Out):
    """What the gateways saw."""

    items: tuple[SenderRow, ...]


class WorkbenchKind(_Out):
    """One kind of oddity; of `count` a thousand stands for that and more."""

    kind: str
    count: int
    says: str


class OffListRow(_Out):
    """An order that a rule of its sender keeps off the list; `promote` knows it by `study`."""

    study: str
    sender: str
    received_at: Time
    accessions: tuple[str, ...]
    patient_id: str
    patient_name: str
    description: str
    procedure: str
    order_class: str


class OffListRows(_Out):
    """The newest first."""

    items: tuple[OffListRow, ...]


class Workbench(_Out):
    """All kinds."""

    items: tuple[WorkbenchKind, ...]


class Behind(_Out):
    """How many events the broker holds and the list does not, and for how long the oldest waits."""

    events: int
    seconds: int


class TruthOut(_Out):
    """How far the list can be believed. `lines`: what has to be said, each with a `code`, most
    grave first; `applied_age_s`: age, at a door, of the newest event that the list holds.
    """

    as_of: Time
    database: bool
    stale: bool
    applied_age_s: float | None
    behind: Behind
    waits_for: str
    lines: tuple[dict[str, str | int], ...]


class ClosedOut(_Out):
    """A row that left the list: its state now, and who finished it, where a person did."""

    study: str
    state: str
    finished_by: str
    finished_at: Time | None


class CountsOut(_Out):
    """The whole list: rows of each lane but those to validate (preliminary reports), and readable
    ones that carry a flag.
    """

    lanes: dict[str, int]
    flagged: int
    to_validate: int


class Frame(_Out):
    """What changed of the list at one moment. `gone`: names that are no open row any more;
    `closed` says what became of them.
    """

    items: tuple[Row, ...] = ()
    gone: tuple[str, ...] = ()
    closed: tuple[ClosedOut, ...] = ()
    counts: CountsOut | None = None
    as_of: Time


class Changes(Frame):
    """The same since a cursor. `gap`: too much, or the cursor is unknown; read the whole list
    again.
    """

    cursor: str
    gap: bool = False


class Polled(_Out):
    """Frames of the feed, for who cannot keep a stream open; `id` names the newest."""

    id: str
    reload: bool
    frames: tuple[Frame, ...]
    truth: TruthOut
