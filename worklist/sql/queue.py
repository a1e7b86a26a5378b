"""The list read: in reading order, one row by any of its names, and what changed.

Rows that are closed are asked for by name, by number or by state; whatever runs at each refresh
reads the open table alone. Claims are in `leases`, acts in `acts`, counts in `counts`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text
from sqlalchemy import Row as SqlRow

from worklist.sql.models import COLUMNS

OPEN_STATES = ("expected", "arriving", "readable", "preliminary")
#: A closed row keeps the state in which a person finished it.
CLOSED_STATES = ("final", "cancelled", "historic")

#: What only one row's own page needs; a list would carry it in vain.
_DETAIL = frozenset({"members", "nodes", "fragments", "reports", "results", "models"})
_PUBLIC = {"uid": "study_uid"}
_ORDER = "lane, due_at, received_at, name"
_LEASE = """CASE WHEN l.expires_at > clock_timestamp() THEN l.reader END AS claimed_by,
    CASE WHEN l.expires_at > clock_timestamp() THEN l.expires_at END AS lease_expires_at,
    CASE WHEN l.ended <> 'released' THEN l.reader END AS opened_by,
    i.said_by AS in_reading"""
_JOINS = """LEFT JOIN lease l ON l.name = r.name
    LEFT JOIN in_reading i ON i.name = r.name AND i.expires_at > clock_timestamp()"""


def _fields(columns: Sequence[str]) -> str:
    named = (f"r.{name} AS {_PUBLIC[name]}" if name in _PUBLIC else f"r.{name}" for name in columns)
    return f"r.name AS study, r.closed_at, {', '.join(named)}, {_LEASE}"


_SHORT = tuple(name for name in COLUMNS if name not in _DETAIL)
_LIST_FIELDS = _fields(_SHORT)
_ALL_FIELDS = _fields(COLUMNS)
_OPEN_ROWS = f"SELECT name, NULL::timestamptz AS closed_at, {', '.join(_SHORT)} FROM item"
_CLOSED_ROWS = f"SELECT name, closed_at, {', '.join(_SHORT)} FROM closed"


class QueueError(Exception):
    """What the list refuses. `who` names the person who has or did it, where that is the reason.

    Codes: `not_found`, `claimed`, `in_reading`, `not_readable`, `finished`, `wrong_token`,
    `reason_required`, `not_authorised`, `not_flagged`, `not_pinned`, `not_historic`, `not_closed`,
    `not_cancelled`, `not_an_order`, `bad_code`, `too_late`, `bad_cursor`, `bad_state`.
    """

    def __init__(self, code: str, who: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.who = who


@dataclass(frozen=True)
class Listing:
    """A page of rows in reading order; `next` continues it."""

    items: list[dict[str, Any]]
    next: str | None
    as_of: datetime


def listing(
    connection: Connection,
    *,
    limit: int = 100,
    cursor: str | None = None,
    state: str | None = None,
    accession: str | None = None,
    study_uid: str | None = None,
    pools: Sequence[tuple[str, str]] = (),
) -> Listing:
    """Rows in reading order. Default: what is open, lane 3 included.

    Args:
        state: an open or a closed state; ``all``: all that is open or closed.
        accession: any of the row's, corrected ones too.
        pools: of the open list only these (site, subspecialty).

    Raises:
        QueueError: `bad_cursor`, or `bad_state`.
    """
    values: dict[str, Any] = {"n": limit + 1}
    where = []
    if cursor:
        where.append(f'({_ORDER}) > (:c_lane, :c_due, :c_received, :c_name COLLATE "C")')
        values |= _read_cursor(cursor)
    if accession:
        where.append("accessions @> ARRAY[:accession]")
        values["accession"] = accession
    if study_uid:
        where.append("uid = :uid")
        values["uid"] = study_uid
    branches = _branches(state, where, pools, values, selective=bool(accession or study_uid))
    sql = f"""SELECT {_LIST_FIELDS}
              FROM (SELECT * FROM ({" UNION ALL ".join(branches)}) b ORDER BY {_ORDER} LIMIT :n) r
              {_JOINS} ORDER BY r.lane, r.due_at, r.received_at, r.name"""
    rows = connection.execute(text(sql), values).all()
    more = len(rows) > limit
    return Listing(
        [as_dict(row) for row in rows[:limit]],
        _cursor(rows[limit - 1]) if more else None,
        _now(connection),
    )


def _branches(
    state: str | None,
    where: Sequence[str],
    pools: Sequence[tuple[str, str]],
    values: dict[str, Any],
    selective: bool,
) -> list[str]:
    """The sorted heads that a page is merged from, each read along an index.

    What names a number is few rows: these are found by it, and sorted (`OFFSET 0` keeps the planner
    from walking the whole list in order instead).
    """

    def head(rows: str, *more: str) -> str:
        told = " AND ".join([*more, *where])
        end = "OFFSET 0" if selective else f"ORDER BY {_ORDER} LIMIT :n"
        return f"({rows} {'WHERE ' + told if told else ''} {end})"

    if state is None and pools:
        for place, (site, subspecialty) in enumerate(pools):
            values |= {f"site{place}": site, f"sub{place}": subspecialty}
        return [
            head(_OPEN_ROWS, f"site = :site{place} AND subspecialty = :sub{place}")
            for place in range(len(pools))
        ]
    if state is None:
        return [head(_OPEN_ROWS)]
    if state in OPEN_STATES:
        return [head(_OPEN_ROWS, f"state = '{state}'")]
    if state in CLOSED_STATES:
        return [head(_CLOSED_ROWS, f"state = '{state}'")]
    if state != "all":
        raise QueueError("bad_state")
    if selective:
        return [head(_OPEN_ROWS), head(_CLOSED_ROWS)]
    closed = [head(_CLOSED_ROWS, f"state = '{name}'") for name in OPEN_STATES + CLOSED_STATES]
    return [head(_OPEN_ROWS), *closed]


def _now(connection: Connection) -> datetime:
    now = connection.scalar(text("SELECT clock_timestamp()"))
    assert isinstance(now, datetime)
    return now


def _cursor(row: SqlRow[Any]) -> str:
    return base64.urlsafe_b64encode(
        orjson.dumps([row.lane, row.due_at, row.received_at, row.study])
    ).decode()


def _read_cursor(cursor: str) -> dict[str, Any]:
    try:
        lane, due, received, name = orjson.loads(base64.urlsafe_b64decode(cursor))
        return {
            "c_lane": int(lane),
            "c_due": datetime.fromisoformat(due),
            "c_received": datetime.fromisoformat(received),
            "c_name": str(name),
        }
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        raise QueueError("bad_cursor") from None


def as_dict(row: SqlRow[Any]) -> dict[str, Any]:
    """The row as API and page show it: `study` is its name, `flags` and `why` are named."""
    body = dict(row._mapping)
    body["flags"] = [{"package": p, "code": c, "name": n} for p, c, n in body["flags"]]
    body["why"] = [{"term": t, "target_s": s, "source": o} for t, s, o in body["why"]]
    body["open"] = body["closed_at"] is None
    body["finished"] = body["finished_at"] is not None
    return body


_ONE = text(
    f"""SELECT {_ALL_FIELDS} FROM member m
        JOIN (SELECT *, NULL::timestamptz AS closed_at FROM item) r ON r.name = m.name {_JOINS}
        WHERE m.member = :study AND m.closed_at IS NULL
        UNION ALL
        SELECT {_ALL_FIELDS} FROM member m
        JOIN closed r ON r.name = m.name AND r.closed_at = m.closed_at {_JOINS}
        WHERE m.member = :study"""
)


def detail(connection: Connection, study: str) -> dict[str, Any]:
    """One row, open or closed, by its name or any member's id.

    Beside what a list shows: `members`, `results`, `models`, and `fragments` and `reports`, which a
    finish names as seen. Raises QueueError `not_found`.
    """
    row = connection.execute(_ONE, {"study": study}).first()
    if row is None:
        raise QueueError("not_found")
    return as_dict(row)


def ahead(connection: Connection, study: str) -> int:
    """How many open rows are read before this one."""
    return int(
        connection.scalar(
            text(f"""SELECT count(*) FROM item, (
                         SELECT {", ".join("t." + c for c in _ORDER.split(", "))}
                         FROM member m JOIN item t ON t.name = m.name WHERE m.member = :study) me
                     WHERE (item.lane, item.due_at, item.received_at, item.name)
                         < (me.lane, me.due_at, me.received_at, me.name)"""),
            {"study": study},
        )
        or 0
    )


class Since(NamedTuple):
    """How far a follower has read: all changes up to this one."""

    changed: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.changed}.{self.name}"


def since(cursor: str) -> Since:
    """The place that ``str(Since(…))`` names. Raises QueueError `bad_cursor`."""
    changed, _, name = cursor.partition(".")
    if not changed.isdecimal():
        raise QueueError("bad_cursor")
    return Since(int(changed), name)


@dataclass(frozen=True)
class Changed:
    """Rows as they stand, names that are no open row any more, and where the next step begins."""

    items: list[dict[str, Any]]
    gone: list[str]
    seq: Since
    full: bool


_CHANGED = text(
    """SELECT changed, name FROM (
           (SELECT changed, name COLLATE "C" AS name FROM item WHERE (changed, name) > (:q, :name)
            AND changed < :end ORDER BY changed, name LIMIT :n)
           UNION ALL
           (SELECT changed, name COLLATE "C" FROM lease WHERE (changed, name) > (:q, :name)
            AND changed < :end ORDER BY changed, name LIMIT :n)
           UNION ALL
           (SELECT changed, name COLLATE "C" FROM gone WHERE (changed, name) > (:q, :name)
            AND changed < :end ORDER BY changed, name LIMIT :n)) c
       ORDER BY changed, name LIMIT :n"""
)
_NAMED = text(
    f"""SELECT {_LIST_FIELDS} FROM (SELECT *, NULL::timestamptz AS closed_at FROM item) r {_JOINS}
        WHERE r.name = ANY(:names) ORDER BY r.lane, r.due_at, r.received_at, r.name"""
)
_END = text("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint")


def changes_since(connection: Connection, seq: Since, limit: int = 1000) -> Changed:
    """What changed after `seq`, at most `limit` changes; of rows, claims and what left the list.
    Only what no older transaction can still change.
    """
    end = connection.scalar(_END)
    values = {"q": seq.changed, "name": seq.name, "end": end, "n": limit}
    found = connection.execute(_CHANGED, values).all()
    if not found:
        return Changed([], [], seq, False)
    names = {row.name for row in found}
    rows = [as_dict(row) for row in connection.execute(_NAMED, {"names": sorted(names)})]
    gone = sorted(names - {row["study"] for row in rows})
    last = Since(found[-1].changed, found[-1].name)
    return Changed(rows, gone, last, len(found) == limit)


def head_seq(connection: Connection) -> Since:
    """Where `changes_since` starts for a page that has just read the list."""
    return Since(int(connection.scalar(_END) or 0))
