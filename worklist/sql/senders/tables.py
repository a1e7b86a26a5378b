"""The tables of what gateways say of senders. None holds an identity."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


def _time(nullable: bool) -> Any:
    return Field(sa_type=DateTime(timezone=True), nullable=nullable)


def _counts() -> Any:
    return Field(sa_type=JSONB, nullable=False)


class SenderDoor(SQLModel, table=True):
    """A sender at one door, over all gateways since it was first told of.

    `recent`: messages by minute (seconds since 1970), of the last ones; `silent_after_s`: nothing
    heard for longer is an alarm, NULL for whom the site does not list.
    """

    __tablename__ = "sender_door"
    sender: str = Field(primary_key=True)
    door: str = Field(primary_key=True)
    known_since: datetime = _time(False)
    last_at: datetime | None = _time(True)
    answers: dict[str, int] = _counts()
    refusals: dict[str, int] = _counts()
    not_imaging: dict[str, int] = _counts()
    recent: list[list[int]] = _counts()
    silent_after_s: int | None = Field(default=None, nullable=True)


class SenderWord(SQLModel, table=True):
    """What one gateway counted of it when it spoke last; what it says next is more by a difference.

    `gateway`: the process, by its name and `since` when it counts: several may be called alike.
    """

    __tablename__ = "sender_word"
    gateway: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    door: str = Field(primary_key=True)
    since: datetime | None = _time(True)
    at: datetime = _time(False)
    answers: dict[str, int] = _counts()
    refusals: dict[str, int] = _counts()
    not_imaging: dict[str, int] = _counts()


class SenderHour(SQLModel, table=True):
    """For how long, at most, nothing had been heard at a moment of that hour, seconds."""

    __tablename__ = "sender_hour"
    sender: str = Field(primary_key=True)
    door: str = Field(primary_key=True)
    hour: datetime = Field(sa_type=DateTime(timezone=True), primary_key=True)
    longest_s: int


class ParkedEntry(SQLModel, table=True):
    """Where a parked event lies, and why; its content stays sealed in the topic."""

    __tablename__ = "parked_entry"
    partition: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    offset: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    sender: str
    stage: str
    topic: str
    reason: str
    field: str
    attempts: int
    parked_at: datetime = _time(False)
    __table_args__ = (Index("parked_whose", "sender", "topic", "parked_at"),)


class TopicRead(SQLModel, table=True):
    """How far a topic that makes no rows of the list was read: `next` is not read yet."""

    __tablename__ = "topic_read"
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    next: int = Field(sa_type=BigInteger, nullable=False)
