"""Browsers in which somebody logged in. A row holds the digest of what the browser's cookie holds,
so that who reads the table cannot enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

_FIELDS = "id, person, started_at, seen_at, words"
KEPT_SEARCHES = 4000  # characters: the oldest searches go first


@dataclass(frozen=True)
class Kept:
    """One session; `words`: what its reader searched for, which no URL may hold: a line each, its
    name and the words, newest first.
    """

    id: str
    person: str
    started_at: datetime
    seen_at: datetime
    words: str = ""

    @property
    def searches(self) -> dict[str, str]:
        """Words by the name that a URL has of them: each tab has its own."""
        whole = self.words.rpartition("\n")[0].splitlines()
        return {name: words for name, _, words in (line.partition("\t") for line in whole)}


def start(connection: Connection, session_id: str, person: str) -> Kept:
    """A new one, by the database's clock."""
    row = connection.execute(
        text(f"""INSERT INTO session (id, person, started_at, seen_at, words)
                 VALUES (:id, :person, clock_timestamp(), clock_timestamp(), '')
                 RETURNING {_FIELDS}"""),
        {"id": session_id, "person": person},
    ).one()
    return Kept(**row._mapping)


def find(connection: Connection, ids: Sequence[str]) -> list[Kept]:
    """Those of `ids` that are not ended."""
    rows = connection.execute(
        text(f"SELECT {_FIELDS} FROM session WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    return [Kept(**row._mapping) for row in rows]


def see(connection: Connection, session_id: str) -> None:
    """It is used now."""
    connection.execute(
        text("UPDATE session SET seen_at = clock_timestamp() WHERE id = :id"), {"id": session_id}
    )


def note_words(connection: Connection, session_id: str, name: str, words: str) -> str:
    """What its reader searches for, in one line and under that name; returns all that is kept."""
    kept: str | None = connection.scalar(
        text("""UPDATE session SET words = left(:line || words, :most) WHERE id = :id
                RETURNING words"""),
        {"id": session_id, "line": f"{name}\t{words}\n", "most": KEPT_SEARCHES},
    )
    return kept or ""


def end(connection: Connection, session_id: str) -> None:
    """Logged out: the same cookie opens nothing any more, in no process."""
    connection.execute(text("DELETE FROM session WHERE id = :id"), {"id": session_id})


def end_all(connection: Connection, person: str) -> int:
    """All browsers of a person; returns how many."""
    done = connection.execute(
        text("DELETE FROM session WHERE person = :person"), {"person": person}
    )
    return done.rowcount


def trim(connection: Connection) -> None:
    """Takes away what no lifetime allows any more. For a chore."""
    connection.execute(
        text("DELETE FROM session WHERE started_at < clock_timestamp() - interval '1 day'")
    )
