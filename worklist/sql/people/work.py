"""What a reader has and did: studies held, finished today, and passed by for now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from worklist.sql.queue import CLOSED_ROWS, JOINS, LIST_FIELDS, OPEN_ROWS, as_dict

#: `next` passes a skipped study by for so long, to that reader alone.
SKIPPED_FOR = "30 minutes"
#: So many readers have passed an open study by: a lead is told.
OFTEN = 3


def one_at_a_time(connection: Connection, reader: str) -> str | None:
    """What the reader has, longest, if anything; until the transaction ends no other one of theirs
    asks the same, so that a second click finds what the first one claimed.
    """
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('reader ' || :reader, 0))"),
        {"reader": reader},
    )
    held: str | None = connection.scalar(
        text("""SELECT l.name FROM lease l JOIN item ON item.name = l.name
                WHERE l.reader = :reader AND l.expires_at > clock_timestamp()
                ORDER BY l.taken_at, l.name LIMIT 1"""),
        {"reader": reader},
    )
    return held


def held(connection: Connection, reader: str) -> list[dict[str, Any]]:
    """What the reader has now, longest first."""
    rows = connection.execute(
        text(f"""SELECT {LIST_FIELDS} FROM ({OPEN_ROWS} WHERE name IN (
                     SELECT name FROM lease WHERE reader = :reader
                     AND expires_at > clock_timestamp())) r {JOINS}
                 ORDER BY l.taken_at, r.name"""),
        {"reader": reader},
    )
    return [as_dict(row) for row in rows]


def finished(
    connection: Connection, reader: str, since: datetime, most: int = 200
) -> list[dict[str, Any]]:
    """What the reader finished since then, newest first."""
    rows = connection.execute(
        text(f"""SELECT {LIST_FIELDS} FROM ({CLOSED_ROWS} WHERE finished_by = :reader
                     AND closed_at >= :since ORDER BY closed_at DESC LIMIT :most) r {JOINS}
                 ORDER BY r.closed_at DESC"""),
        {"reader": reader, "since": since, "most": most},
    )
    return [as_dict(row) for row in rows]


def skip(connection: Connection, reader: str, name: str) -> None:
    """The reader passes a row by for a while."""
    connection.execute(
        text("""INSERT INTO skipping (name, reader) VALUES (:name, :reader)
                ON CONFLICT (name, reader) DO UPDATE SET at = clock_timestamp()"""),
        {"name": name, "reader": reader},
    )


def skip_no_more(connection: Connection, reader: str, name: str) -> None:
    """The reader took it back."""
    connection.execute(
        text("DELETE FROM skipping WHERE name = :name AND reader = :reader"),
        {"name": name, "reader": reader},
    )


def skipped_by(connection: Connection, reader: str) -> Sequence[str]:
    """What the reader passes by now."""
    return connection.scalars(
        text(f"""SELECT name FROM skipping WHERE reader = :reader
                 AND at > clock_timestamp() - interval '{SKIPPED_FOR}'"""),
        {"reader": reader},
    ).all()


def skipped_often(connection: Connection) -> list[str]:
    """Open rows that at least `OFTEN` readers have passed by."""
    return list(
        connection.scalars(
            text("""SELECT s.name FROM skipping s JOIN item ON item.name = s.name
                    GROUP BY s.name HAVING count(*) >= :often ORDER BY 1 LIMIT 1000"""),
            {"often": OFTEN},
        )
    )


def trim(connection: Connection) -> None:
    """Takes away what was said of rows that left the list. For a chore."""
    connection.execute(
        text("""DELETE FROM skipping s
                WHERE NOT EXISTS (SELECT FROM item WHERE item.name = s.name)""")
    )
