"""What leaves the web process: a row as API, live feed and page show it, lists, claims, changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[AwareDatetime, PlainSerializer(_iso, return_type=str, when_used="json")]
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
    """One reading item.

    `overtaken_until` (promise 4): a study whose clock starts later than this is read after this one
    in its lane, flagged or not. None while there is nothing to read, and once it is read.
    `borrowed`: numbers of orders that may be this study's and lend it their urgency. `finish_id`:
    the act by which it was read; an undo names it. `fragments` and `reports` (of one study's own
    page alone): what a finish names as seen.
    """

    study: str
    accession: str
    accessions: tuple[str, ...]
    study_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    modality: str
    body_part: str
    description: str
    priority: str
    location: str
    site: str
    subspecialty: str
    state: str
    ai: Ai
    ai_reason: str | None
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
    coverage: dict[str, int | float | None] | None
    cleared_by: str
    cleared_reason: str
    pinned_by: str
    pinned_reason: str
    outcome: str
    in_reading: str | None
    claimed_by: str | None
    claimed_until: Time | None
    opened_by: str | None
    finished_at: Time | None
    finished_by: str
    finish_id: str
    fragments: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()


class Listing(_Out):
    """A part of the list, in reading order."""

    items: tuple[Row, ...]
    next: str | None
    as_of: Time


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


class Changes(_Out):
    """What is new since a cursor. `gap`: too much, or the cursor is unknown; read the whole list
    again.
    """

    cursor: str
    items: tuple[Row, ...] = ()
    gone: tuple[str, ...] = ()
    gap: bool = False
    as_of: Time
