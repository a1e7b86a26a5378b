"""The list as it stood at a past moment, from the audit alone (promise 9): rows in reading order,
who had claimed what, and what had been closed in the day before, by whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

#: How far back what was closed is told.
CLOSED_WITHIN = timedelta(days=1)

_TAKEN = ("next", "claim")
_GIVEN_BACK = ("release", "expire", "finish")
_MOVED = ("claim_superseded", "join")


@dataclass(frozen=True)
class Placed:
    """One row of a past list: where it stood, and why.

    Attributes:
        claimed_by: who had it at that moment, else empty.
        finished_by: who had finished it, else empty.
        decided_at: when it came to stand so.
    """

    item: str
    open: bool
    lane: int
    due_at: datetime
    received_at: datetime
    state: str
    ai: str
    policy: str
    why: tuple[tuple[str, float, str], ...]
    claimed_by: str
    finished_by: str
    decided_at: datetime


# The last word on each row. A row that joined another is no row any more.
_AT = text(
    """SELECT item, (detail->>'open')::boolean AS open, (detail->>'lane')::int AS lane,
              (detail->>'due_at')::timestamptz AS due_at,
              (detail->>'received_at')::timestamptz AS received_at,
              detail->>'state' AS state, detail->>'ai' AS ai, detail->>'policy' AS policy,
              detail->'why' AS why, detail->>'finished_by' AS finished_by, at AS decided_at
       FROM (SELECT DISTINCT ON (item) item, act, detail, at FROM audit
             WHERE act IN ('rank', 'join') AND at <= :moment ORDER BY item, id DESC) last
       WHERE act = 'rank' AND ((detail->>'open')::boolean OR at > :since)
       ORDER BY (detail->>'open')::boolean DESC,
                CASE WHEN (detail->>'open')::boolean THEN (detail->>'lane')::int END,
                CASE WHEN (detail->>'open')::boolean THEN (detail->>'due_at')::timestamptz END,
                CASE WHEN (detail->>'open')::boolean THEN (detail->>'received_at')::timestamptz
                     ELSE at END,
                item COLLATE "C" """
)
_LEASES = text(
    """SELECT act, item, actor, detail->>'into' AS into FROM audit
       WHERE act = ANY(:acts) AND at <= :moment ORDER BY id"""
)


def list_at(connection: Connection, moment: datetime) -> list[Placed]:
    """The open list at `moment` in reading order, then what was closed in the day before it, in
    the order of closing.
    """
    since = moment - CLOSED_WITHIN
    rows = connection.execute(_AT, {"moment": moment, "since": since}).all()
    held = claims_at(connection, moment)
    return [_placed(row, held) for row in rows]


def _placed(row: Any, held: dict[str, str]) -> Placed:
    values = dict(row._mapping)
    values["why"] = tuple(tuple(term) for term in row.why)
    return Placed(**values, claimed_by=held.get(row.item, "") if row.open else "")


def claims_at(connection: Connection, moment: datetime) -> dict[str, str]:
    """Who had which row at `moment`. What a claim was renewed by is not in the audit; that it ran
    out is.
    """
    held: dict[str, str] = {}
    acts = [*_TAKEN, *_GIVEN_BACK, *_MOVED]
    stream = connection.execution_options(stream_results=True, yield_per=2000)
    for row in stream.execute(_LEASES, {"acts": acts, "moment": moment}):
        if row.act in _TAKEN:
            held[row.item] = row.actor
        elif row.act in _GIVEN_BACK:
            held.pop(row.item, None)
        elif row.act == "claim_superseded":  # of two claims on one row the later goes
            if held.get(row.item) == row.actor:
                held.pop(row.item)
        elif row.item in held:  # the claim follows its row, unless one is there already
            mover = held.pop(row.item)
            if row.into:
                held.setdefault(row.into, mover)
    return held
