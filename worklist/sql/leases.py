"""Claims as leases: each row has its own, with its own token. One act, one audit row.

A claim locks its row of the list, then its lease; renewals touch the lease alone. A lease that ran
out stays, until the row is taken or closed: it says who had it open, and still finishes. For a
grace after its end the row is kept for that reader: `next` passes it over, a claim asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy import Row as SqlRow

from streams.errors import Reason, Retry
from worklist.sql import audit
from worklist.sql.queue import KIN, QueueError, kin
from worklist.sql.rights import gives_reason

#: Of a lease's length: so long after its end `next` gives the row to nobody else. Its reader may
#: sit in the archive's viewer, before a browser that froze.
GRACE = 0.4
_SEEN = "name, fragments, reports, siblings, person, birth_date"
#: Nobody says that somebody reads it elsewhere; a word of half an hour ago is none.
_NOT_ELSEWHERE = "(reading_until IS NULL OR reading_until <= clock_timestamp())"
#: Its lease ran out a moment ago, and was not given back.
_KEPT = """(l.reader <> :reader AND l.ended <> 'released' AND l.expires_at
            > clock_timestamp() - make_interval(secs => :grace_s))"""
_NEXT = text(
    f"""SELECT {_SEEN} FROM item r WHERE state = 'readable'
        AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.name = r.name
                        AND (l.expires_at > clock_timestamp() OR {_KEPT}))
        AND {_NOT_ELSEWHERE}
        AND NOT (name = ANY(CAST(:skip AS text[])))
        ORDER BY lane, due_at, received_at, name LIMIT 1 FOR UPDATE OF r SKIP LOCKED"""
)
#: Nobody's row, or the reader's own, becomes the reader's; who had it open is told.
_TAKE = text(
    """WITH old AS (SELECT reader, ended FROM lease WHERE name = :name)
       INSERT INTO lease AS l (name, reader, token, taken_at, expires_at, ended, fragments, reports,
                               changed)
       VALUES (:name, :reader, :token, clock_timestamp(),
               clock_timestamp() + make_interval(secs => :lease_s), '', :fragments, :reports,
               txid_current())
       ON CONFLICT (name) DO UPDATE SET
           token = CASE WHEN l.reader = :reader AND l.ended <> 'released'
                        THEN l.token ELSE excluded.token END,
           taken_at = CASE WHEN l.reader = :reader AND l.ended <> 'released'
                           THEN l.taken_at ELSE excluded.taken_at END,
           reader = excluded.reader, expires_at = excluded.expires_at, ended = '',
           asked_by = '', asked_reason = '',
           fragments = excluded.fragments, reports = excluded.reports, changed = excluded.changed
       WHERE l.expires_at <= clock_timestamp() OR l.reader = :reader
       RETURNING token, expires_at,
           (SELECT reader FROM old WHERE reader <> :reader AND ended <> 'released') AS opened_by"""
)


@dataclass(frozen=True)
class Sibling:
    """Another row of the same person: who has it, or the token that the reader has of it."""

    study: str
    claimed_by: str | None = None
    token: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Claim:
    """A lease on one row: only its token finishes or releases it. `opened_by` names an earlier
    reader who had it open.
    """

    study: str
    token: str
    expires_at: datetime
    opened_by: str | None
    siblings: tuple[Sibling, ...] = ()


def next_study(
    connection: Connection,
    reader: str,
    lease_s: float,
    skip: Sequence[str] = (),
    *,
    siblings: bool = False,
) -> Claim | None:
    """Claims the first row that can be read and that nobody has; None when there is none.

    Passes over what is preliminary (it stands under *to validate*), what somebody reads elsewhere
    and what another had open until a moment ago. With `siblings` the free ones of them are claimed
    too.
    """
    passed = list(skip)
    while True:
        values = {"skip": passed, "reader": reader, "grace_s": lease_s * GRACE}
        row = connection.execute(_NEXT, values).first()
        if row is None:
            return None
        taken = _take(connection, row, reader, lease_s, "next")
        if taken is not None:
            return _with_siblings(connection, taken, row, reader, lease_s if siblings else None)
        passed.append(row.name)  # somebody took it between our look and our lock


def claim(
    connection: Connection,
    study: str,
    reader: str,
    lease_s: float,
    *,
    siblings: bool = False,
    sure: bool = False,
) -> Claim:
    """Claims one row, by any of its names.

    Args:
        sure: also when somebody reads it elsewhere, or had it open until a moment ago.

    Raises:
        QueueError: `not_found`, `not_readable` (lane 3), `finished`, `claimed`, `in_reading` or
            `just_opened`; the last four say by whom.
    """
    row = locked(connection, study)
    if row.state not in ("readable", "preliminary"):
        raise QueueError("not_readable")
    if row.elsewhere and not sure:
        raise QueueError("in_reading", row.reading_by)
    if not sure and (before := _kept_for(connection, row.name, reader, lease_s)):
        raise QueueError("just_opened", before)
    taken = _take(connection, row, reader, lease_s, "claim")
    if taken is None:
        raise QueueError("claimed", lease_of(connection, row.name).reader)
    return _with_siblings(connection, taken, row, reader, lease_s if siblings else None)


def locked(connection: Connection, study: str) -> SqlRow[Any]:
    """The open row that answers to `study`, locked. Raises QueueError `not_found` or `finished`."""
    for _ in range(3):
        place = connection.execute(
            text("SELECT name, closed_at FROM member WHERE member = :study"), {"study": study}
        ).first()
        if place is None:
            raise QueueError("not_found")
        if place.closed_at is not None:
            raise QueueError("finished", _finisher(connection, place.name, place.closed_at))
        row = connection.execute(
            text(f"""SELECT state, NOT {_NOT_ELSEWHERE} AS elsewhere, reading_by, {_SEEN}
                     FROM item WHERE name = :name FOR UPDATE"""),
            {"name": place.name},
        ).first()
        if row is not None:
            return row
    raise Retry(Reason.OVERLOADED, "moved")  # it was renamed or closed each time that we looked


def _kept_for(connection: Connection, name: str, reader: str, lease_s: float) -> str | None:
    """Another reader, whose lease on the row ran out within the grace."""
    who: str | None = connection.scalar(
        text(f"""SELECT reader FROM lease l WHERE name = :name AND {_KEPT}
                 AND l.expires_at <= clock_timestamp()"""),
        {"name": name, "reader": reader, "grace_s": lease_s * GRACE},
    )
    return who


def _finisher(connection: Connection, name: str, closed_at: datetime) -> str:
    who = connection.scalar(
        text("SELECT finished_by FROM closed WHERE name = :name AND closed_at = :at"),
        {"name": name, "at": closed_at},
    )
    return who or ""


def lease_of(connection: Connection, name: str) -> SqlRow[Any]:
    """The lease on a row that is locked, live or not. Raises QueueError `wrong_token`."""
    row = connection.execute(
        text("""SELECT *, expires_at > clock_timestamp() AS live FROM lease
                WHERE name = :name FOR UPDATE"""),
        {"name": name},
    ).first()
    if row is None:
        raise QueueError("wrong_token")
    return row


def _take(
    connection: Connection,
    row: SqlRow[Any],
    reader: str,
    lease_s: float,
    act: str,
    detail: dict[str, Any] | None = None,
) -> Claim | None:
    """Leases a locked row; None when somebody else has it."""
    values = {
        "name": row.name,
        "reader": reader,
        "token": secrets.token_urlsafe(18),
        "lease_s": lease_s,
        "fragments": row.fragments,
        "reports": row.reports,
    }
    taken = connection.execute(_TAKE, values).first()
    if taken is None:
        return None
    audit.append(connection, act, row.name, actor=reader, detail=detail)
    return Claim(row.name, taken.token, taken.expires_at, taken.opened_by)


_SIBLINGS = text(
    f"SELECT state, {_SEEN} FROM item WHERE {KIN} ORDER BY lane, due_at, received_at, name"
)


def _with_siblings(
    connection: Connection, claim: Claim, row: SqlRow[Any], reader: str, lease_s: float | None
) -> Claim:
    """Open rows of the same person (`queue.KIN`). With `lease_s` the free ones are claimed."""
    found = []
    for other in connection.execute(_SIBLINGS, kin(row) | {"name": row.name}).all():
        taken = None
        if lease_s is not None and other.state in ("readable", "preliminary"):
            taken = _take_free(connection, other.name, reader, lease_s)
        if taken is not None:
            found.append(Sibling(other.name, reader, taken.token, taken.expires_at))
        else:
            found.append(Sibling(other.name, holder(connection, other.name)))
    return replace(claim, siblings=tuple(found))


def _take_free(connection: Connection, name: str, reader: str, lease_s: float) -> Claim | None:
    """Leases a sibling that nobody has, is about to claim or had open until a moment ago."""
    if _kept_for(connection, name, reader, lease_s):
        return None
    row = connection.execute(
        text(f"""SELECT {_SEEN} FROM item WHERE name = :name AND {_NOT_ELSEWHERE}
                 FOR UPDATE SKIP LOCKED"""),
        {"name": name},
    ).first()
    if row is None:
        return None
    return _take(connection, row, reader, lease_s, "claim", {"as": "sibling"})


def holder(connection: Connection, name: str) -> str | None:
    """Who has a row now."""
    who: str | None = connection.scalar(
        text("SELECT reader FROM lease WHERE name = :name AND expires_at > clock_timestamp()"),
        {"name": name},
    )
    return who


def own_token(connection: Connection, study: str, reader: str) -> str | None:
    """The token of the lease that `reader` has or had last on an open row; None without one."""
    token: str | None = connection.scalar(
        text("""SELECT l.token FROM member m JOIN lease l ON l.name = m.name
                WHERE m.member = :study AND m.closed_at IS NULL AND l.reader = :reader
                AND l.ended <> 'released'"""),
        {"study": study, "reader": reader},
    )
    return token


def renew(connection: Connection, study: str, token: str, lease_s: float) -> datetime:
    """Prolongs a lease; returns its new end. A renewal makes no event.

    Raises:
        QueueError: `wrong_token` (says who has it), `finished` or `not_found`.
    """
    end = connection.scalar(
        text("""UPDATE lease l SET expires_at = clock_timestamp() + make_interval(secs => :lease_s),
                    ended = ''
                FROM member m WHERE m.member = :study AND m.closed_at IS NULL AND l.name = m.name
                AND l.token = :token AND l.ended <> 'released' RETURNING l.expires_at"""),
        {"study": study, "token": token, "lease_s": lease_s},
    )
    if end is None:
        row = locked(connection, study)
        raise QueueError("wrong_token", holder(connection, row.name) or "")
    assert isinstance(end, datetime)
    return end


def renew_all(connection: Connection, reader: str, lease_s: float) -> dict[str, datetime]:
    """Prolongs all that a reader has, as any tab of theirs does; by row, until when. One that ran
    out within the last hour and that nobody took since is the reader's again.
    """
    rows = connection.execute(
        text("""UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => :lease_s),
                    changed = CASE WHEN expires_at < clock_timestamp() THEN txid_current()
                                   ELSE changed END, ended = ''
                WHERE reader = :reader AND ended <> 'released'
                AND expires_at > clock_timestamp() - interval '1 hour'
                AND EXISTS (SELECT FROM item WHERE item.name = lease.name)
                RETURNING name, expires_at"""),
        {"reader": reader, "lease_s": lease_s},
    )
    return {row.name: row.expires_at for row in rows}


def release(
    connection: Connection, study: str, actor: str, token: str | None, reason: str = ""
) -> None:
    """Gives a row back unread; without a token by force, with a reason (rights: `rights.may`).

    Raises:
        QueueError: `not_found`, `finished`, `wrong_token`, `reason_required`.
    """
    if token is None and not gives_reason(reason):
        raise QueueError("reason_required")
    row = locked(connection, study)
    lease = lease_of(connection, row.name)
    if token is not None and not same_token(lease, token):
        raise QueueError("wrong_token", lease.reader if lease.live else "")
    end(connection, row.name)
    detail = {} if lease.reader == actor else {"reader": lease.reader}
    audit.append(connection, "release", row.name, actor=actor, reason=reason, detail=detail)


def same_token(lease: SqlRow[Any], token: str) -> bool:
    """Whether `token` is the lease's; a lease that was given back has none."""
    return lease.ended != "released" and secrets.compare_digest(
        lease.token.encode(), token.encode()
    )


def end(connection: Connection, name: str) -> None:
    """Gives back the lease on a row that is locked."""
    connection.execute(
        text("""UPDATE lease SET ended = 'released', expires_at = clock_timestamp(),
                    changed = txid_current() WHERE name = :name"""),
        {"name": name},
    )


def expire(connection: Connection) -> int:
    """Notes which leases ran out, as a lost browser's do; returns how many. What they say of who
    had a row open stays while it is open. For a chore.
    """
    rows = connection.execute(
        text("""UPDATE lease SET ended = 'expired', changed = txid_current()
                WHERE name IN (SELECT name FROM lease WHERE ended = ''
                               AND expires_at <= clock_timestamp()
                               ORDER BY name FOR UPDATE SKIP LOCKED)
                RETURNING name, reader""")
    ).all()
    for row in rows:
        audit.append(connection, "expire", row.name, actor=row.reader)
    connection.execute(
        text("""DELETE FROM lease l WHERE ended <> '' AND NOT EXISTS (
                    SELECT 1 FROM item WHERE item.name = l.name)""")
    )
    return len(rows)
