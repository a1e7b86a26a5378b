"""Claims as leases: one reader per study, with the other studies of its accessions; renewed, given
back or finished by their token. One act, one audit row.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy import Row as SqlRow

from streams.errors import Reason, Retry
from worklist.order.rank import UNREADABLE
from worklist.sql import audit
from worklist.sql.models import OPEN
from worklist.sql.queue import _LINKED, _LIVE, QueueError, _locked

#: The other rows of a row's accessions; the nodes are there for their index.
_SAME_ACCESSION = "nodes && CAST(:n AS text[]) AND accessions && CAST(:a AS text[]) AND study <> :s"


@dataclass(frozen=True)
class Claim:
    """A lease on one study: only its token finishes or releases it. `opened_by` names an earlier
    reader who had it open.
    """

    study: str
    token: str
    expires_at: datetime
    opened_by: str | None


def next_study(
    connection: Connection, reader: str, lease_s: float, skip: tuple[str, ...] = ()
) -> Claim | None:
    """Claims the first study that can be read and nobody has; None when there is none. Two readers
    never get the same one.

    Raises:
        Retry: somebody is claiming a study of the same accession right now.
    """
    passed = list(skip)
    while True:
        found = connection.execute(
            text(f"""SELECT study, accessions, {_LINKED} AS linked FROM study s
                     WHERE {OPEN} AND state = 'readable' AND lane < {UNREADABLE} AND NOT {_LIVE}
                     AND NOT (study = ANY(CAST(:skip AS text[])))
                     ORDER BY lane, due_at, received_at, item
                     LIMIT 1 FOR UPDATE OF s SKIP LOCKED"""),
            {"skip": passed},
        ).first()
        if found is None:
            return None
        if not found.linked or not _elsewhere(connection, found, reader):
            return _lease(connection, found, reader, lease_s, "next")
        passed.append(found.study)


def claim(connection: Connection, study: str, reader: str, lease_s: float) -> Claim:
    """Claims one study. Raises QueueError `not_found`, `not_readable` (lane 3), `claimed` or
    `finished`.
    """
    row = _locked(connection, study)
    if row.finished_at is not None:
        raise QueueError("finished")
    if row.lane == UNREADABLE or row.state not in ("readable", "preliminary"):
        raise QueueError("not_readable")
    if row.live and row.claimed_by != reader:
        raise QueueError("claimed")
    if row.linked and _elsewhere(connection, row, reader):
        raise QueueError("claimed")
    return _lease(connection, row, reader, lease_s, "claim")


def _elsewhere(connection: Connection, row: SqlRow[Any], reader: str) -> bool:
    """Whether another reader has a study of the same accession (PET and CT are read together).
    Nobody can claim one meanwhile.
    """
    for accession in sorted(row.accessions):
        if not connection.scalar(
            text("SELECT pg_try_advisory_xact_lock(hashtextextended(:a, 7))"), {"a": accession}
        ):
            raise Retry(Reason.OVERLOADED, "claim")
    return bool(
        connection.scalar(
            text(f"""SELECT EXISTS (SELECT 1 FROM study WHERE {_SAME_ACCESSION} AND {OPEN}
                     AND {_LIVE} AND claimed_by <> :r)"""),
            _accession(row) | {"r": reader},
        )
    )


def _accession(row: SqlRow[Any]) -> dict[str, Any]:
    return {"s": row.study, "a": row.accessions, "n": [f"a:{a}" for a in row.accessions]}


def _lease(
    connection: Connection, row: SqlRow[Any], reader: str, lease_s: float, act: str
) -> Claim:
    """Leases a locked row, and with it the other studies of its accessions."""
    token = secrets.token_urlsafe(18)
    leased = connection.execute(
        text("""UPDATE study s SET claimed_by = :r, lease_token = :t,
                    lease_expires_at = clock_timestamp() + make_interval(secs => :l),
                    opened_by = :r, changed = txid_current(), changed_at = clock_timestamp()
                FROM (SELECT study, opened_by FROM study WHERE study = :s) old
                WHERE s.study = old.study RETURNING s.lease_expires_at, old.opened_by"""),
        {"r": reader, "t": token, "l": lease_s, "s": row.study},
    ).one()
    if row.linked:
        connection.execute(
            text(f"""UPDATE study SET claimed_by = :r, lease_token = :t, lease_expires_at = :e,
                         opened_by = :r, changed = txid_current()
                     WHERE study IN (
                         SELECT study FROM study WHERE {_SAME_ACCESSION} AND {OPEN}
                         AND state = 'readable' ORDER BY study FOR UPDATE)"""),
            _accession(row) | {"r": reader, "t": token, "e": leased.lease_expires_at},
        )
    audit.append(connection, act, row.study, actor=reader)
    return Claim(
        row.study,
        token,
        leased.lease_expires_at,
        leased.opened_by if leased.opened_by != reader else None,
    )


def own_token(connection: Connection, study: str, reader: str) -> str | None:
    """The token of the claim that `reader` has on an open study; None when there is none."""
    token: str | None = connection.scalar(
        text(f"SELECT lease_token FROM study WHERE study = :s AND claimed_by = :r AND {OPEN}"),
        {"s": study, "r": reader},
    )
    return token


def _holder(connection: Connection, study: str, token: str) -> SqlRow[Any]:
    row = _locked(connection, study)
    if row.finished_at is not None:
        raise QueueError("finished")
    if not row.lease_token or not secrets.compare_digest(row.lease_token, token):
        raise QueueError("wrong_token")
    return row


def renew(connection: Connection, study: str, token: str, lease_s: float) -> datetime:
    """Prolongs a lease; returns its new end. Raises QueueError as `finish`."""
    _holder(connection, study, token)
    end = connection.scalar(
        text("""UPDATE study SET lease_expires_at = clock_timestamp() + make_interval(secs => :l),
                    changed = txid_current()
                WHERE lease_token = :t RETURNING lease_expires_at"""),
        {"l": lease_s, "t": token},
    )
    assert isinstance(end, datetime)
    return end


def release(connection: Connection, study: str, token: str, actor: str) -> None:
    """Gives the study back unread. Raises QueueError `not_found`, `wrong_token` or `finished`."""
    _holder(connection, study, token)
    connection.execute(
        text("""UPDATE study SET claimed_by = NULL, lease_token = NULL, lease_expires_at = NULL,
                    opened_by = NULL, changed = txid_current(), changed_at = clock_timestamp()
                WHERE lease_token = :t"""),
        {"t": token},
    )
    audit.append(connection, "release", study, actor=actor)


def finish(connection: Connection, study: str, token: str, actor: str) -> None:
    """The study was read: it leaves the list. A lease that ran out finishes too, until it was given
    back or claimed.
    """
    _holder(connection, study, token)
    done = connection.execute(
        text("""UPDATE study SET claimed_by = NULL, lease_token = NULL, lease_expires_at = NULL,
                    finished_at = clock_timestamp(), finished_by = :a,
                    changed = txid_current(), changed_at = clock_timestamp()
                WHERE lease_token = :t RETURNING study"""),
        {"t": token, "a": actor},
    ).all()
    for row in done:
        audit.append(connection, "finish", row.study, actor=actor)
