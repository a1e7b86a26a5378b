"""Readers added and disabled while the page runs; those of the site's file are not here, but for
being disabled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worklist.sql import audit


@dataclass(frozen=True)
class Account:
    """Who may enter. `sha256`: the token's digest; empty where the site's file has it."""

    name: str
    role: str
    sha256: str
    disabled_at: datetime | None


def accounts(connection: Connection) -> list[Account]:
    """All of them, by name."""
    rows = connection.execute(
        text("SELECT name, role, sha256, disabled_at FROM account ORDER BY name")
    )
    return [Account(**row._mapping) for row in rows]


def add(connection: Connection, name: str, role: str, sha256: str, actor: str) -> None:
    """Lets somebody in, or gives them another token; who was disabled may enter again."""
    connection.execute(
        text("""INSERT INTO account (name, role, sha256) VALUES (:name, :role, :sha256)
                ON CONFLICT (name) DO UPDATE
                SET role = excluded.role, sha256 = excluded.sha256, disabled_at = NULL"""),
        {"name": name, "role": role, "sha256": sha256},
    )
    audit.append(connection, "reader_added", "", actor=actor, detail={"name": name, "role": role})


def disable(connection: Connection, name: str, actor: str) -> None:
    """Lets nobody in under that name, wherever it was written down."""
    connection.execute(
        text("""INSERT INTO account (name, role, sha256, disabled_at)
                VALUES (:name, '', '', clock_timestamp())
                ON CONFLICT (name) DO UPDATE SET disabled_at = excluded.disabled_at"""),
        {"name": name},
    )
    audit.append(connection, "reader_disabled", "", actor=actor, detail={"name": name})
