"""The tables. A fact is what was said; an item is a row of the list; a lease is somebody's for now.

What is open stands in `item`, narrow in number; what was closed in `closed`, in monthly partitions,
so that nothing that runs often ever meets it. A column of the list is declared once, here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from worklist.sql.people import tables  # noqa: F401 — they stand in the same schema
from worklist.sql.senders import tables as of_senders  # noqa: F401 — and so do these

_XID = "(pg_current_xact_id()::text)::bigint"


def _time(nullable: bool = True, **more: Any) -> Any:
    return Field(sa_type=DateTime(timezone=True), nullable=nullable, **more)


def _texts() -> Any:
    return Field(sa_type=ARRAY(Text), nullable=False)


def _json() -> Any:
    return Field(sa_type=JSONB, nullable=False)


class Fact(SQLModel, table=True):
    """One event as it was first received. Its key is the same whenever the message comes again."""

    __tablename__ = "fact"
    key: str = Field(primary_key=True)
    type: str
    nodes: list[str] = _texts()
    received: datetime = _time(False)
    body: dict[str, Any] = _json()
    __table_args__ = (
        # Without a list of pending entries: each look-up would read it whole (measured: half the
        # time of a batch).
        Index(
            "fact_nodes",
            "nodes",
            postgresql_using="gin",
            postgresql_with={"fastupdate": False},
        ),
        Index(
            "fact_package",
            text("(body->>'package')"),
            text("(body->>'package_version')"),
            postgresql_where=text("type = 'FindingsMade'"),
        ),
        Index(
            "fact_not_imaging",
            text("received DESC"),
            "key",
            postgresql_where=text("type = 'OrderChanged' AND body->>'imaging' = 'false'"),
        ),
    )


class Node(SQLModel, table=True):
    """What facts are found and locked by, in key order; `uses`: how many different things name it.

    Of a number: patients. Of a number as one patient's: studies. More than the rules allow, and it
    joins nothing. `named`: which number it is, of one that many name.
    """

    __tablename__ = "node"
    key: str = Field(primary_key=True, sa_type=Text(collation="C"))
    uses: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    named: dict[str, str] | None = Field(default=None, sa_type=JSONB)
    __table_args__ = (
        Index("node_named", "uses", "key", postgresql_where=text("named IS NOT NULL")),
    )


class Naming(SQLModel, table=True):
    """Which patients name a number, and which studies name it as theirs: each pair once."""

    __tablename__ = "naming"
    node: str = Field(primary_key=True)
    by: str = Field(primary_key=True)


class PatientNumber(SQLModel, table=True):
    """Which authorities have a patient number of this value (both as they travel)."""

    __tablename__ = "patient_number"
    value: str = Field(primary_key=True)
    authority: str = Field(primary_key=True)


class ItemColumns(SQLModel):
    """What a row of the list is: all but its lease. One declaration for both tables."""

    uid: str = ""
    accession: str = ""
    accessions: list[str] = _texts()
    members: list[str] = _texts()
    nodes: list[str] = _texts()
    person: str = ""
    patient_id: str = ""
    patient_issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    other_numbers: list[dict[str, Any]] = _json()
    modality: str = ""
    body_part: str = ""
    description: str = ""
    indication: str = ""
    referring: str = ""  # who asks, and where they are called back
    subspecialty: str = ""
    site: str = ""
    location: str = ""
    order_class: str = "unknown"
    borrowed: list[str] = _texts()
    state: str
    marks: list[str] = _texts()
    ai: str
    ai_reason: str = ""
    ai_unlike: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    cleared_by: str = ""
    cleared_reason: str = ""
    flags: list[list[str]] = _json()
    results: list[list[str]] = _json()
    looked_for: list[str] = _texts()
    abstained: list[str] = _texts()
    coverage: dict[str, Any] = _json()
    models: dict[str, str] = _json()
    images_here: int = 0
    images_announced: int | None = None
    fragments: list[str] = _texts()
    reports: list[str] = _texts()
    siblings: list[str] = _texts()
    lane: int
    due_at: datetime = _time(False)
    received_at: datetime = _time(False)
    target_at: datetime = _time(False)
    why: list[list[Any]] = _json()
    clock: datetime = _time(False)
    scheduled_at: datetime | None = _time(default=None)
    last_image_at: datetime | None = _time(default=None)
    report_at: datetime | None = _time(default=None)
    policy_version: str
    pinned_by: str = ""
    pinned_reason: str = ""
    outcome: str = ""
    finished_by: str = ""
    finished_at: datetime | None = _time(default=None)
    finish_id: str = ""
    reading_until: datetime | None = _time(default=None)  # said elsewhere, without a token
    reading_by: str = ""
    words: list[str] = _texts()  # what a search finds it by (`asking.search`)
    changed: int = Field(default=0, sa_type=BigInteger, nullable=False)
    changed_at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})


#: The mark of a row that could not be derived anew: it keeps its place, and ops are told.
STUCK = "stuck"

_AI = "ai IN ('flagged','withdrawn','not_flagged','not_analysed','pending')"


class Item(ItemColumns, table=True):
    """A row that is open. `name` is that of its earliest member; it answers to all."""

    __tablename__ = "item"
    name: str = Field(primary_key=True, sa_type=Text(collation="C"))
    __table_args__ = (
        CheckConstraint(_AI, "item_ai"),
        CheckConstraint("lane BETWEEN 0 AND 3", "item_lane"),
        CheckConstraint("(lane = 3) = (state IN ('expected','arriving'))", "item_unreadable"),
        CheckConstraint("state IN ('expected','arriving','readable','preliminary')", "item_open"),
        CheckConstraint("finished_at IS NULL", "item_unfinished"),
        # The index is the queue: its column order is the rank's.
        Index("item_queue", "lane", "due_at", "received_at", "name"),
        Index(
            "item_next",
            "lane",
            "due_at",
            "received_at",
            "name",
            postgresql_where=text("state = 'readable'"),
        ),
        Index("item_pool", "site", "subspecialty", "lane", "due_at", "received_at", "name"),
        Index("item_clock", "lane", "clock"),
        Index("item_target", "lane", "target_at"),
        Index("item_uid", "uid"),
        Index("item_person", "person"),
        Index("item_accessions", "accessions", postgresql_using="gin"),
        Index("item_words", text("array_to_tsvector(words)"), postgresql_using="gin"),
        Index("item_policy", "policy_version", "name"),
        Index("item_changed", "changed", "name"),
        # Rows that no model has answered yet: by when their last image came.
        Index("item_pending", "last_image_at", postgresql_where=text("ai = 'pending'")),
        # Rows that a chore could not derive anew: seldom any.
        Index("item_stuck", "name", postgresql_where=text(f"'{STUCK}' = ANY (marks)")),
    )


class Closed(ItemColumns, table=True):
    """A row that is closed: read, final, cancelled or historic. Partitioned by month of closing."""

    __tablename__ = "closed"
    name: str = Field(primary_key=True, sa_type=Text(collation="C"))
    closed_at: datetime = Field(sa_type=DateTime(timezone=True), primary_key=True)
    __table_args__ = (
        CheckConstraint("state IN ('read','final','cancelled','historic')", "closed_state"),
        CheckConstraint(_AI, "closed_ai"),
        Index("closed_uid", "uid"),
        Index("closed_person", "person"),
        Index("closed_accessions", "accessions", postgresql_using="gin"),
        Index("closed_words", text("array_to_tsvector(words)"), postgresql_using="gin"),
        Index(
            "closed_reader",
            "finished_by",
            "closed_at",
            postgresql_where=text("finished_by <> ''"),
        ),
        Index("closed_when", "closed_at"),
        Index("closed_reading", "state", "lane", "due_at", "received_at", "name"),
        {"postgresql_partition_by": "RANGE (closed_at)"},
    )


class Member(SQLModel, table=True):
    """Which row answers to a member, and whether it is open: a row is found by any of them."""

    __tablename__ = "member"
    member: str = Field(primary_key=True)
    name: str = Field(index=True, sa_type=Text(collation="C"))
    closed_at: datetime | None = _time(default=None)


class Lease(SQLModel, table=True):
    """Who has a row, until when; after its end it tells who had it open."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True, sa_type=Text(collation="C"))
    reader: str = Field(index=True)
    token: str
    taken_at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})
    expires_at: datetime = _time(False)
    ended: str = ""  # empty, `released` (by its holder) or `expired` (noted by a chore)
    fragments: list[str] = _texts()
    reports: list[str] = _texts()
    changed: int = Field(default=0, sa_type=BigInteger, nullable=False)
    asked_by: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    asked_reason: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    __table_args__ = (
        Index("lease_changed", "changed", "name"),
        Index("lease_due", "expires_at", postgresql_where=text("ended = ''")),
    )


class Gone(SQLModel, table=True):
    """Rows that left the open list, for the live feed; a chore trims it."""

    __tablename__ = "gone"
    changed: int = Field(primary_key=True, sa_type=BigInteger)
    name: str = Field(primary_key=True, sa_type=Text(collation="C"))
    at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})
    __table_args__ = (Index("gone_at", "at"),)


class Tally(SQLModel, table=True):
    """How many rows are in each state and lane: differences, which a chore adds up."""

    __tablename__ = "tally"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    state: str
    lane: int
    flagged: bool
    rows: int = Field(sa_type=BigInteger, nullable=False)


class Audit(SQLModel, table=True):
    """One act or decision, written in its own transaction, never changed; seals stand apart.

    Sealed in the order of `xid`, `id`: below the oldest running transaction it no longer changes.
    """

    __tablename__ = "audit"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    xid: int = Field(
        sa_type=BigInteger, nullable=False, sa_column_kwargs={"server_default": text(_XID)}
    )
    at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})
    act: str
    item: str = Field(default="", index=True)
    actor: str = ""
    reason: str = ""
    detail: dict[str, Any] = _json()
    __table_args__ = (Index("audit_order", "xid", "id"),)


class AuditSeal(SQLModel, table=True):
    """The chain over the audit: one link per audit row, inserted by the sealer alone."""

    __tablename__ = "audit_seal"
    place: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    audit_id: int = Field(sa_type=BigInteger, unique=True, nullable=False)
    seal: str


class Outbox(SQLModel, table=True):
    """What has to be sent out, written with the change that caused it; in order per item."""

    __tablename__ = "outbox"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    xid: int = Field(
        sa_type=BigInteger, nullable=False, sa_column_kwargs={"server_default": text(_XID)}
    )
    at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})
    item: str
    kind: str
    body: dict[str, Any] = _json()
    sent_at: datetime | None = _time(default=None)
    __table_args__ = (
        Index("outbox_unsent", "kind", "id", postgresql_where=text("sent_at IS NULL")),
        Index("outbox_sent", "sent_at", postgresql_where=text("sent_at IS NOT NULL")),
        Index("outbox_old", "at", postgresql_where=text("sent_at IS NULL AND kind <> 'act'")),
    )


class LogPosition(SQLModel, table=True):
    """How far each partition was applied, in the batch's own transaction: a gap is seen by it.

    `lost`: how many positions were passed over unread; `gap_at`: when that was last seen.
    """

    __tablename__ = "log_position"
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int = Field(sa_type=BigInteger, nullable=False)
    topic_id: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    newest_received: datetime | None = _time(default=None)
    applied_at: datetime = _time(False, sa_column_kwargs={"server_default": func.clock_timestamp()})
    lost: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    gap_at: datetime | None = _time(default=None)


class Rebuild(SQLModel, table=True):
    """An announced rebuild of the topics: a gap of that day is noted, not alarmed."""

    __tablename__ = "rebuild"
    at: datetime = Field(
        sa_column=Column(
            DateTime(timezone=True), primary_key=True, server_default=func.clock_timestamp()
        )
    )
    actor: str
    reason: str


class PolicyVersion(SQLModel, table=True):
    """Each policy that ever ranked; the newest activated one ranks now."""

    __tablename__ = "policy_version"
    version: str = Field(primary_key=True)
    body: dict[str, Any] = _json()
    activated_at: datetime = _time(False)
    actor: str = ""


#: Columns that both tables have, in the order of their declaration: select lists and inserts.
COLUMNS = tuple(ItemColumns.model_fields)
#: Those of them that hold JSON.
JSON_COLUMNS = frozenset(
    name
    for name in COLUMNS
    if isinstance(Item.__table__.c[name].type, JSONB)  # type: ignore[attr-defined]
)
