"""The list read: in reading order, one row by any of its names, and what changed.

Rows that are closed are asked for by name, by number or by state; whatever runs at each refresh
reads the open table alone. Claims are in `leases`, acts in `acts`, counts in `counts`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text
from sqlalchemy import Row as SqlRow

from worklist.sql.key_images import key_image_of
from worklist.sql.models import COLUMNS

OPEN_STATES = ("expected", "arriving", "readable", "preliminary")
CLOSED_STATES = ("read", "final", "cancelled", "historic")

#: What only one row's own page needs; a list would carry it in vain.
_DETAIL = frozenset({"members", "nodes", "fragments", "reports", "results", "models", "words"})
_PUBLIC = {"uid": "study_uid"}
_ORDER = "lane, due_at, received_at, name"
_LEASE = """CASE WHEN l.expires_at > clock_timestamp() THEN l.reader END AS claimed_by,
    CASE WHEN l.expires_at > clock_timestamp() THEN l.expires_at END AS lease_expires_at,
    CASE WHEN l.ended <> 'released' THEN l.reader END AS opened_by,
    CASE WHEN l.ended <> 'released' THEN l.expires_at END AS opened_until,
    CASE WHEN l.expires_at > clock_timestamp() THEN NULLIF(l.asked_by, '') END AS asked_by,
    CASE WHEN l.expires_at > clock_timestamp() THEN NULLIF(l.asked_reason, '') END AS asked_reason,
    CASE WHEN r.reading_until > clock_timestamp() THEN r.reading_by END AS in_reading"""
JOINS = "LEFT JOIN lease l ON l.name = r.name"


def _fields(columns: Sequence[str]) -> str:
    named = (f"r.{name} AS {_PUBLIC[name]}" if name in _PUBLIC else f"r.{name}" for name in columns)
    return f"r.name AS study, r.closed_at, {', '.join(named)}, {_LEASE}"


_SHORT = tuple(name for name in COLUMNS if name not in _DETAIL)
LIST_FIELDS = _fields(_SHORT)
_ALL_FIELDS = _fields(COLUMNS)
OPEN_ROWS = f"SELECT name, NULL::timestamptz AS closed_at, {', '.join(_SHORT)} FROM item"
CLOSED_ROWS = f"SELECT name, closed_at, {', '.join(_SHORT)} FROM closed"


class QueueError(Exception):
    """What the list refuses. `who` names the person who has or did it, where that is the reason.

    Codes: `not_found`, `claimed`, `in_reading`, `just_opened`, `not_readable`, `finished`,
    `wrong_token`, `reason_required`, `not_authorised`, `not_flagged`, `not_pinned`,
    `not_historic`, `not_closed`, `not_cancelled`, `not_an_order`, `bad_code`, `too_late`,
    `nothing_to_undo`, `bad_cursor`, `bad_state`, `too_broad`, `asked` (its holder was).
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
    after: str = ""  # the key of the place that it begins after


def listing(
    connection: Connection,
    *,
    limit: int = 100,
    cursor: str | None = None,
    state: str | None = None,
    accession: str | None = None,
    study_uid: str | None = None,
    pools: Sequence[tuple[str, str]] = (),
    only: str = "",
) -> Listing:
    """Rows in reading order. Default: what is open, lane 3 included.

    Args:
        state: an open or a closed state; ``all``: all that is open or closed; ``unread``: what is
            open but has no preliminary report.
        accession: any of the row's, corrected ones too.
        pools: of the open list only these (site, subspecialty).
        only: a condition on rows, of the code's own words.

    Raises:
        QueueError: `bad_cursor`, or `bad_state`.
    """
    values: dict[str, Any] = {"n": limit + 1}
    where = []
    after = ""
    if cursor:
        where.append(f'({_ORDER}) > (:c_lane, :c_due, :c_received, :c_name COLLATE "C")')
        place = _read_cursor(cursor)
        after = key(*place.values())
        values |= place
    if only:
        where.append(f"({only})")
    if accession:
        where.append("accessions @> ARRAY[:accession]")
        values["accession"] = accession
    if study_uid:
        where.append("uid = :uid")
        values["uid"] = study_uid
    branches = _branches(state, where, pools, values, selective=bool(accession or study_uid))
    sql = f"""SELECT {LIST_FIELDS}
              FROM (SELECT * FROM ({" UNION ALL ".join(branches)}) b ORDER BY {_ORDER} LIMIT :n) r
              {JOINS} ORDER BY r.lane, r.due_at, r.received_at, r.name"""
    rows = connection.execute(text(sql), values).all()
    more = len(rows) > limit
    return Listing(
        [as_dict(row) for row in rows[:limit]],
        _cursor(rows[limit - 1]) if more else None,
        _now(connection),
        after,
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
            head(OPEN_ROWS, f"site = :site{place} AND subspecialty = :sub{place}")
            for place in range(len(pools))
        ]
    if state is None:
        return [head(OPEN_ROWS)]
    if state == "unread":
        return [head(OPEN_ROWS, "state <> 'preliminary'")]
    if state in OPEN_STATES:
        return [head(OPEN_ROWS, f"state = '{state}'")]
    if state in CLOSED_STATES:
        return [head(CLOSED_ROWS, f"state = '{state}'")]
    if state != "all":
        raise QueueError("bad_state")
    if selective:
        return [head(OPEN_ROWS), head(CLOSED_ROWS)]
    closed = [head(CLOSED_ROWS, f"state = '{name}'") for name in CLOSED_STATES]
    return [head(OPEN_ROWS), *closed]


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
        stamps = [datetime.fromisoformat(each) for each in (due, received)]
        if lane not in range(10) or not name.isascii() or "\0" in name or _without_zone(stamps):
            raise QueueError("bad_cursor")
        return {"c_lane": lane, "c_due": stamps[0], "c_received": stamps[1], "c_name": name}
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError, AttributeError):
        raise QueueError("bad_cursor") from None


def _without_zone(stamps: Sequence[datetime]) -> bool:
    return any(stamp.tzinfo is None for stamp in stamps)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key(lane: int, due: datetime, received: datetime, name: str) -> str:
    """A row's place as text: rows sorted by it are in reading order, those before 1970 too."""
    stamps = ((at - _EPOCH) // timedelta(microseconds=1) + 10**17 for at in (due, received))
    return f"{lane}" + "".join(f"{stamp:018d}" for stamp in stamps) + name


def as_dict(row: SqlRow[Any]) -> dict[str, Any]:
    """The row as API and page show it: `study` is its name, `flags` and `why` are named."""
    body = dict(row._mapping)
    body["flags"] = [{"package": p, "code": c, "name": n} for p, c, n in body["flags"]]
    body["why"] = [{"term": t, "target_s": s, "source": o} for t, s, o in body["why"]]
    body["key"] = key(row.lane, row.due_at, row.received_at, row.study)
    body["open"] = body["closed_at"] is None
    body["finished"] = body["finished_at"] is not None
    return body


_ONE = text(
    f"""SELECT {_ALL_FIELDS} FROM member m
        JOIN (SELECT *, NULL::timestamptz AS closed_at FROM item) r ON r.name = m.name {JOINS}
        WHERE m.member = :study AND m.closed_at IS NULL
        UNION ALL
        SELECT {_ALL_FIELDS} FROM member m
        JOIN closed r ON r.name = m.name AND r.closed_at = m.closed_at {JOINS}
        WHERE m.member = :study"""
)


def detail(connection: Connection, study: str) -> dict[str, Any]:
    """One row, open or closed, by its name or any member's id.

    Beside what a list shows: `members`, `results`, `models`, `key_image`, and `fragments` and
    `reports`, which a finish names as seen. Raises QueueError `not_found`.
    """
    row = connection.execute(_ONE, {"study": study}).first()
    if row is None:
        raise QueueError("not_found")
    body = as_dict(row)
    return body | {"key_image": key_image_of(connection, body)}


#: Rows of the same person: of the same accession, or elsewhere. A number without an authority says
#: of nobody elsewhere that it is the same person.
KIN = """name <> :name AND (name = ANY(CAST(:siblings AS text[])) OR (
         person = :person AND birth_date = :born AND person !~ '^\\|' AND person <> ''))"""
_OPEN_KIN = text(
    f"""SELECT {LIST_FIELDS}
        FROM (SELECT *, NULL::timestamptz AS closed_at FROM item WHERE {KIN}
              ORDER BY {_ORDER} LIMIT :n) r {JOINS}
        ORDER BY r.lane, r.due_at, r.received_at, r.name"""
)
_CLOSED_KIN = text(
    f"""SELECT {LIST_FIELDS} FROM (
            SELECT DISTINCT name, closed_at FROM member
            WHERE member = ANY(CAST(:siblings AS text[])) AND closed_at IS NOT NULL) m
        JOIN closed r ON r.name = m.name AND r.closed_at = m.closed_at {JOINS}
        ORDER BY r.closed_at DESC, r.name LIMIT :n"""
)


def kin(row: Any) -> dict[str, Any]:
    """What `KIN` asks of a row."""
    return {"siblings": row.siblings, "person": row.person, "born": row.birth_date}


def siblings(connection: Connection, study: str, most: int = 30) -> list[dict[str, Any]]:
    """Rows that belong with one: the same person's that are open, then those of the same accession
    that are closed. Raises QueueError `not_found`.
    """
    row = connection.execute(_ONE, {"study": study}).first()
    if row is None:
        raise QueueError("not_found")
    values = kin(row) | {"name": row.study, "n": most}
    found = [*connection.execute(_OPEN_KIN, values), *connection.execute(_CLOSED_KIN, values)]
    return [as_dict(each) for each in found]


def before(connection: Connection, cursor: str) -> int:
    """How many unread rows stand before the page that `cursor` begins. Raises QueueError
    `bad_cursor`.
    """
    return int(
        connection.scalar(
            text(f"""SELECT count(*) FROM item WHERE state <> 'preliminary' AND ({_ORDER})
                     <= (:c_lane, :c_due, :c_received, :c_name COLLATE "C")"""),
            _read_cursor(cursor),
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
    f"""SELECT {LIST_FIELDS} FROM (SELECT *, NULL::timestamptz AS closed_at FROM item) r {JOINS}
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


_BECAME = text(
    """SELECT m.member AS study, c.state, c.finished_by, c.finished_at FROM member m
       JOIN closed c ON c.name = m.name AND c.closed_at = m.closed_at
       WHERE m.member = ANY(CAST(:names AS text[]))"""
)


def became(connection: Connection, names: Sequence[str]) -> list[dict[str, Any]]:
    """What became of rows that left the list: state, and who finished them when."""
    return [dict(row._mapping) for row in connection.execute(_BECAME, {"names": list(names)})]


def head_seq(connection: Connection) -> Since:
    """Where `changes_since` starts for a page that has just read the list."""
    return Since(int(connection.scalar(_END) or 0))
