"""The audit: append-only rows, sealed by a hash chain, from which the list of any past moment can
be rebuilt (promise 9).

Acts append in their own transaction; one sealer chains the rows in batches. A row is chained only
when every older transaction has ended (below ``pg_snapshot_xmin``), so that the chain never passes
over one that commits late.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

_LOCK = 7_310_002
_GENESIS = "0" * 64
_APPEND = text("""INSERT INTO audit (act, study, actor, reason, detail)
                  VALUES (:act, :study, :actor, :reason, CAST(:detail AS jsonb))""")
_ROWS = """SELECT id, xid, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS at,
           act, study, actor, reason, detail::text AS detail, place, seal FROM audit"""


def append(
    connection: Connection,
    act: str,
    study: str,
    *,
    actor: str = "",
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Adds a row in the caller's transaction."""
    values = {
        "act": act,
        "study": study,
        "actor": actor,
        "reason": reason,
        "detail": json.dumps(detail or {}),
    }
    connection.execute(_APPEND, values)


def seal(connection: Connection, limit: int = 5000) -> int:
    """Chains up to `limit` settled rows; returns how many. Does nothing when another process is
    sealing.
    """
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": _LOCK}):
        return 0
    last = connection.execute(
        text("SELECT place, seal FROM audit WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1")
    ).first()
    place, link = (last.place, last.seal) if last else (0, _GENESIS)
    settled = text(
        _ROWS
        + """ WHERE place IS NULL AND xid < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
              ORDER BY xid, id LIMIT :n"""
    )
    chained = []
    for row in connection.execute(settled, {"n": limit}).all():
        place, link = place + 1, _link(link, row)
        chained.append({"id": row.id, "place": place, "seal": link})
    if chained:
        connection.execute(
            text("UPDATE audit SET place = :place, seal = :seal WHERE id = :id"), chained
        )
    return len(chained)


def _link(previous: str, row: Any) -> str:
    body = json.dumps(
        [previous, row.id, row.xid, row.at, row.act, row.study, row.actor, row.reason, row.detail],
        ensure_ascii=False,
    )
    return hashlib.sha256(body.encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. `broken` is the place of the first row that does not fit, None when all
    do.
    """

    sealed: int
    unsealed: int
    broken: int | None


def verify(connection: Connection) -> Verdict:
    """Walks the chain from its start and counts the tail that is not sealed yet."""
    link, place, broken = _GENESIS, 0, None
    rows = connection.execution_options(stream_results=True, yield_per=1000).execute(
        text(_ROWS + " WHERE place IS NOT NULL ORDER BY place")
    )
    for row in rows:
        place += 1
        link = _link(link, row)
        if row.place != place or row.seal != link:
            broken = place
            break
    rows.close()
    tail = connection.scalar(text("SELECT count(*) FROM audit WHERE place IS NULL")) or 0
    return Verdict(place if broken is None else broken - 1, tail, broken)


@dataclass(frozen=True)
class Placed:
    """One row of a past list: where it stood, and why."""

    study: str
    item: str
    lane: int
    due_at: datetime
    received_at: datetime
    state: str
    ai: str
    policy: str
    why: tuple[tuple[str, float, str], ...]


_AT = """
    SELECT study, detail->>'item' AS item, (detail->>'lane')::int AS lane,
           (detail->>'due_at')::timestamptz AS due_at,
           (detail->>'received_at')::timestamptz AS received_at,
           detail->>'state' AS state, detail->>'ai' AS ai, detail->>'policy' AS policy,
           detail->'why' AS why
    FROM (SELECT DISTINCT ON (study) study, act, detail FROM audit
          WHERE act IN ('rank', 'merge_rows', 'finish') AND at <= :moment
          ORDER BY study, act = 'finish' DESC, id DESC) last
    WHERE act = 'rank' AND detail->>'state' IN ('expected', 'arriving', 'readable', 'preliminary')
    ORDER BY 3, 4, 5, (detail->>'item') COLLATE "C" """


def list_at(connection: Connection, moment: datetime) -> list[Placed]:
    """The open list as it stood at `moment`, in reading order, from the audit alone (promise 9)."""
    rows = connection.execute(text(_AT), {"moment": moment}).all()
    return [
        Placed(**(dict(row._mapping) | {"why": tuple(tuple(term) for term in row.why)}))
        for row in rows
    ]
