"""The tables of those who work with the list."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Text, func
from sqlmodel import Field, SQLModel


class Session(SQLModel, table=True):
    """A browser in which somebody logged in; `id`: the digest of what its cookie holds."""

    __tablename__ = "session"
    id: str = Field(primary_key=True)
    person: str = Field(index=True)
    started_at: datetime = Field(sa_type=DateTime(timezone=True), nullable=False)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True), nullable=False)
    words: str


class Account(SQLModel, table=True):
    """A reader who was added, or disabled, without the site's file."""

    __tablename__ = "account"
    name: str = Field(primary_key=True)
    role: str
    sha256: str
    added_at: datetime = Field(
        sa_type=DateTime(timezone=True),
        nullable=False,
        sa_column_kwargs={"server_default": func.clock_timestamp()},
    )
    disabled_at: datetime | None = Field(
        default=None, sa_type=DateTime(timezone=True), nullable=True
    )


class Skipping(SQLModel, table=True):
    """Who passed a row by, and when last; three of them, and a lead is told."""

    __tablename__ = "skipping"
    name: str = Field(primary_key=True, sa_type=Text(collation="C"))
    reader: str = Field(primary_key=True, index=True)
    at: datetime = Field(
        sa_type=DateTime(timezone=True),
        nullable=False,
        sa_column_kwargs={"server_default": func.clock_timestamp()},
    )
