"""The tables: what senders said (fact), reading items (study), decisions and acts (audit), what has
to be sent out (outbox), the policies. CHECKs defend them.
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
    ForeignKey,
    Identity,
    Index,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

#: What the default list shows; the queue's partial indexes have the same predicate.
OPEN = (
    "state IN ('expected','arriving','readable','preliminary')"
    " AND merged_into IS NULL AND finished_at IS NULL"
)


def _time(nullable: bool = True, **more: Any) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable, **more)


class Fact(SQLModel, table=True):
    """The newest version of one thing that one source said. Guarded: an older version never
    overwrites a newer one.
    """

    __tablename__ = "fact"
    key: str = Field(primary_key=True)
    type: str
    nodes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    version_time: datetime = Field(sa_column=_time(False))
    terminality: int
    version_sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    version_digest: str
    first_received: datetime = Field(sa_column=_time(False))
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    __table_args__ = (Index("fact_nodes", "nodes", postgresql_using="gin"),)


class Node(SQLModel, table=True):
    """An accession (``a:``), study UID (``u:``) or patient (``p:``): what transactions lock, in
    this order.
    """

    __tablename__ = "node"
    key: str = Field(primary_key=True)


class Study(SQLModel, table=True):
    """A reading item. `study` is its public name and never changes; `item` is its natural key,
    which may.
    """

    __tablename__ = "study"
    study: str = Field(primary_key=True)
    item: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    nodes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    merged_into: str | None = Field(default=None, sa_column=Column(Text, ForeignKey("study.study")))
    accession: str = ""
    accessions: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    study_uid: str = Field(default="", index=True)
    patient: str | None = Field(default=None, index=True)
    patient_id: str = ""
    patient_issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    modality: str = ""
    body_part: str = ""
    description: str = ""
    subspecialty: str = ""
    site: str = ""
    location: str = ""
    order_class: str = "unknown"
    state: str
    marks: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    ai: str
    ai_reason: str = ""
    flags: list[list[str]] = Field(sa_column=Column(JSONB, nullable=False))
    looked_for: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    cleared: list[list[str]] = Field(
        sa_column=Column(JSONB, nullable=False, server_default=text("'[]'"))
    )
    abstained: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    facts: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    lane: int
    due_at: datetime = Field(sa_column=_time(False))
    received_at: datetime = Field(sa_column=_time(False))
    target_at: datetime = Field(sa_column=_time(False))
    why: list[list[Any]] = Field(sa_column=Column(JSONB, nullable=False))
    clock: datetime = Field(sa_column=_time(False))
    scheduled_at: datetime | None = Field(default=None, sa_column=_time())
    last_image_at: datetime | None = Field(default=None, sa_column=_time())
    report_at: datetime | None = Field(default=None, sa_column=_time())
    policy_version: str
    pinned: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    promoted: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    claimed_by: str | None = None
    lease_token: str | None = None
    lease_expires_at: datetime | None = Field(default=None, sa_column=_time())
    opened_by: str | None = None
    finished_at: datetime | None = Field(default=None, sa_column=_time())
    finished_by: str | None = None
    changed_at: datetime = Field(sa_column=_time(False, server_default=func.now()))
    changed: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))
    __table_args__ = (
        CheckConstraint(
            "state IN ('expected','arriving','readable','preliminary','final','cancelled',"
            "'historic')",
            "study_state",
        ),
        CheckConstraint("ai IN ('flagged','not_flagged','not_analysed','pending')", "study_ai"),
        CheckConstraint("lane BETWEEN 0 AND 3", "study_lane"),
        CheckConstraint("(claimed_by IS NULL) = (lease_token IS NULL)", "study_lease"),
        CheckConstraint("(claimed_by IS NULL) = (lease_expires_at IS NULL)", "study_lease_end"),
        CheckConstraint("(finished_at IS NULL) = (finished_by IS NULL)", "study_finish"),
        # The index is the queue: the literal predicate lets a plan use it, the column order is the
        # rank's.
        Index("study_queue", "lane", "due_at", "received_at", "item", postgresql_where=text(OPEN)),
        Index(
            "study_pool",
            "site",
            "subspecialty",
            "lane",
            "due_at",
            "received_at",
            "item",
            postgresql_where=text(OPEN),
        ),
        Index("study_nodes", "nodes", postgresql_using="gin"),
        Index("study_changed", "changed"),
    )


class Audit(SQLModel, table=True):
    """One act or decision, written in its own transaction; a sealer chains the rows in batches
    (promise 9).
    """

    __tablename__ = "audit"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    xid: int = Field(
        sa_column=Column(
            BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")
        )
    )
    at: datetime = Field(sa_column=_time(False, server_default=func.clock_timestamp()))
    act: str
    study: str = Field(default="", index=True)
    actor: str = ""
    reason: str = ""
    detail: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    place: int | None = Field(
        default=None,
        sa_column=Column(BigInteger, unique=True),
        description="its number in the chain",
    )
    seal: str | None = None


class Outbox(SQLModel, table=True):
    """What the writeback relay has to send out, written with the change that caused it."""

    __tablename__ = "outbox"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    xid: int = Field(
        sa_column=Column(
            BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")
        )
    )
    at: datetime = Field(sa_column=_time(False, server_default=func.clock_timestamp()))
    study: str
    kind: str
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    sent_at: datetime | None = Field(default=None, sa_column=_time())


class PolicyVersion(SQLModel, table=True):
    """Each policy that ever ranked; the newest activated one ranks now."""

    __tablename__ = "policy_version"
    version: str = Field(primary_key=True)
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    activated_at: datetime = Field(sa_column=_time(False))
    actor: str = ""
