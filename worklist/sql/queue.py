"""The list read (in reading order, one row, what changed), and what persons do to a row's place.

One act, one audit row. Claims are in `worklist.sql.leases`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, text
from sqlalchemy import Row as SqlRow

from worklist.order.rank import UNREADABLE
from worklist.sql import audit
from worklist.sql.models import OPEN

_STATES = ("expected", "arriving", "readable", "preliminary", "final", "cancelled", "historic")
_LIVE = "(claimed_by IS NOT NULL AND lease_expires_at > clock_timestamp())"
_FIELDS = f"""study, item, accession, accessions, study_uid, patient_id, patient_name, birth_date,
    sex, modality, body_part, description, subspecialty, site, location, order_class, state, marks,
    ai, ai_reason, flags, looked_for, cleared, lane, due_at, target_at, received_at, clock,
    scheduled_at, last_image_at, report_at, why, policy_version, pinned, finished_at, finished_by,
    opened_by, changed, CASE WHEN {_LIVE} THEN claimed_by END AS claimed_by,
    CASE WHEN {_LIVE} THEN lease_expires_at END AS lease_expires_at"""

#: A row is found under every name it ever had: a reader's lease may be on a row that was merged
#: since.
_WAY = """WITH RECURSIVE way AS (SELECT study, merged_into FROM study WHERE study = :s
          UNION SELECT n.study, n.merged_into FROM study n JOIN way ON n.study = way.merged_into)"""
_HERE = "(SELECT way.study FROM way WHERE way.merged_into IS NULL)"

_LINKED = """(cardinality(s.accessions) > 0 AND EXISTS (
              SELECT 1 FROM study o WHERE o.nodes && s.nodes AND o.accessions && s.accessions
              AND o.study <> s.study AND o.merged_into IS NULL AND o.finished_at IS NULL))"""


class QueueError(Exception):
    """An act that cannot be done: `not_found`, `claimed`, `not_readable`, `wrong_token`,
    `reason_required`, `bad_cursor`, `finished`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


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
) -> Listing:
    """Rows in reading order. Default: what is open, lane 3 included; ``state=all`` adds all others
    but rows merged into another.

    Raises:
        QueueError: `bad_cursor`, or `bad_state`.
    """
    where = [_state_filter(state)]
    values: dict[str, Any] = {"n": limit + 1}
    if accession:
        where.append("nodes @> ARRAY[:accession]")
        values["accession"] = f"a:{accession}"
    if study_uid:
        where.append("study_uid = :uid")
        values["uid"] = study_uid
    if cursor:
        where.append("""(lane, due_at, received_at, item)
                        > (:c_lane, :c_due, :c_received, :c_item COLLATE "C")""")
        values |= _read_cursor(cursor)
    sql = f"""SELECT {_FIELDS} FROM study WHERE {" AND ".join(where)}
              ORDER BY lane, due_at, received_at, item LIMIT :n"""
    rows = connection.execute(text(sql), values).all()
    more = len(rows) > limit
    return Listing(
        [as_dict(r) for r in rows[:limit]],
        _cursor(rows[limit - 1]) if more else None,
        _now(connection),
    )


def _state_filter(state: str | None) -> str:
    if state is None:
        return OPEN
    if state == "all":
        return "merged_into IS NULL"
    if state not in _STATES:
        raise QueueError("bad_state")
    return f"merged_into IS NULL AND state = '{state}'"


def _now(connection: Connection) -> datetime:
    now = connection.scalar(text("SELECT clock_timestamp()"))
    assert isinstance(now, datetime)
    return now


def _cursor(row: SqlRow[Any]) -> str:
    return base64.urlsafe_b64encode(
        orjson.dumps([row.lane, row.due_at, row.received_at, row.item])
    ).decode()


def _read_cursor(cursor: str) -> dict[str, Any]:
    try:
        lane, due, received, item = orjson.loads(base64.urlsafe_b64decode(cursor))
        return {
            "c_lane": int(lane),
            "c_due": datetime.fromisoformat(due),
            "c_received": datetime.fromisoformat(received),
            "c_item": str(item),
        }
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        raise QueueError("bad_cursor") from None


def as_dict(row: SqlRow[Any]) -> dict[str, Any]:
    """The row as API and page show it. Flags that a person withdrew are left out; `why` is a list
    of named terms.
    """
    body = dict(row._mapping)
    cleared = {tuple(c) for c in body.pop("cleared")}
    body["flags"] = [
        {"package": p, "code": c, "name": n} for p, c, n in body["flags"] if (p, c) not in cleared
    ]
    body["why"] = [{"term": t, "target_s": s, "source": o} for t, s, o in body["why"]]
    body["finished"] = body["finished_at"] is not None
    return body


def detail(connection: Connection, study: str) -> dict[str, Any]:
    """One row by its name, wherever it was merged to. Raises QueueError `not_found`."""
    row = connection.execute(
        text(f"{_WAY} SELECT {_FIELDS} FROM study WHERE study = {_HERE}"), {"s": study}
    ).first()
    if row is None:
        raise QueueError("not_found")
    return as_dict(row)


def ahead(connection: Connection, study: str) -> int:
    """How many open rows are read before this one."""
    return int(
        connection.scalar(
            text(f"""SELECT count(*) FROM study s, study me
                     WHERE me.study = :s AND s.{OPEN.replace(" AND ", " AND s.")}
                     AND (s.lane, s.due_at, s.received_at, s.item)
                         < (me.lane, me.due_at, me.received_at, me.item)"""),
            {"s": study},
        )
        or 0
    )


def names(connection: Connection, study: str) -> list[str]:
    """The nodes of one row, for who locks before ranking anew. Raises QueueError `not_found`."""
    found = connection.scalar(
        text(f"{_WAY} SELECT nodes FROM study WHERE study = {_HERE}"), {"s": study}
    )
    if found is None:
        raise QueueError("not_found")
    return list(found)


def _locked(connection: Connection, study: str) -> SqlRow[Any]:
    row = connection.execute(
        text(f"""{_WAY} SELECT *, {_LIVE} AS live, {_LINKED} AS linked
                 FROM study s WHERE study = {_HERE} FOR UPDATE OF s"""),
        {"s": study},
    ).first()
    if row is None:
        raise QueueError("not_found")
    return row


def skip(connection: Connection, study: str, actor: str, reason: str) -> None:
    """Notes that a reader passed over a study, and why. Its rank does not change."""
    _reasoned(reason)
    _locked(connection, study)
    audit.append(connection, "skip", study, actor=actor, reason=reason)


def _reasoned(reason: str) -> None:
    if not reason.strip():
        raise QueueError("reason_required")


def act_on_rank(connection: Connection, study: str, act: str, actor: str, reason: str) -> list[str]:
    """Pin, unpin, promote or clear-flag: writes the person's part and returns the nodes to rank
    anew (`project`).

    Raises:
        QueueError: `not_found`, `reason_required`, `not_readable` (a pin cannot lift lane 3),
            `not_flagged`.
    """
    _reasoned(reason)
    row = _locked(connection, study)
    if act == "pin" and row.lane == UNREADABLE:
        raise QueueError("not_readable")
    sets = {
        "pin": "pinned = true",
        "unpin": "pinned = false",
        "promote": "promoted = true",
        "clear_flag": "cleared = CAST(:c AS jsonb)",
    }[act]
    cleared = sorted({(p, c) for p, c in row.cleared} | {(p, c) for p, c, _ in row.flags})
    if act == "clear_flag" and not row.flags:
        raise QueueError("not_flagged")
    connection.execute(
        text(f"UPDATE study SET {sets} WHERE study = :s"),
        {"s": study, "c": orjson.dumps(cleared).decode()} if act == "clear_flag" else {"s": study},
    )
    audit.append(connection, act, study, actor=actor, reason=reason)
    return list(row.nodes)


def changes_since(
    connection: Connection, seq: int, limit: int = 1000
) -> tuple[list[dict[str, Any]], list[str], int]:
    """Rows that changed after `seq`: (open ones, names that left the list, new seq). Only what no
    older transaction can still change.
    """
    rows = connection.execute(
        text(f"""SELECT {_FIELDS}, ({OPEN}) AS open FROM study WHERE changed > :q
                 AND changed < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
                 ORDER BY changed LIMIT :n"""),
        {"q": seq, "n": limit},
    ).all()
    shown = [as_dict(r) for r in rows if r.open]
    return shown, [r.study for r in rows if not r.open], rows[-1].changed if rows else seq


def head_seq(connection: Connection) -> int:
    """Where `changes_since` starts for a page that has just read the list."""
    return int(
        connection.scalar(
            text("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint - 1")
        )
        or 0
    )


def depths(connection: Connection) -> list[SqlRow[Any]]:
    """Per state and lane: rows, unread ones, longest wait in seconds, rows past their target."""
    return list(
        connection.execute(
            text(f"""SELECT state, lane, count(*) AS rows, count(*) FILTER (WHERE {OPEN}) AS unread,
                     COALESCE(EXTRACT(epoch FROM max(now() - clock) FILTER (WHERE {OPEN})), 0)
                         ::float AS oldest_s,
                     count(*) FILTER (WHERE {OPEN} AND target_at < now()) AS overdue
                     FROM study WHERE merged_into IS NULL GROUP BY 1, 2""")
        ).all()
    )
