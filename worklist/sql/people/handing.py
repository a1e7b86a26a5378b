"""A row goes from one reader to another: asked for, taken over or handed over, with a reason."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from worklist.sql import audit, leases
from worklist.sql.queue import QueueError
from worklist.sql.rights import gives_reason


def take_over(
    connection: Connection,
    study: str,
    reader: str,
    lease_s: float,
    reason: str,
    *,
    at_once: bool = True,
) -> leases.Claim | None:
    """Takes a row from whoever has it, with a reason.

    Args:
        at_once: a live claim too, as a lead may; else its holder is asked, and None comes back.

    Raises QueueError as `claim`.
    """
    if not gives_reason(reason):
        raise QueueError("reason_required")
    row = leases.locked(connection, study)
    before = _opened_by(connection, row.name, reader)
    if before:
        detail = {"from": before.reader}
        if before.live and not at_once:
            _ask(connection, row.name, reader, reason)
            audit.append(connection, "ask", row.name, actor=reader, reason=reason, detail=detail)
            return None
        leases.end(connection, row.name)
        audit.append(connection, "take_over", row.name, actor=reader, reason=reason, detail=detail)
    return leases.claim(connection, study, reader, lease_s, sure=True)


def _opened_by(connection: Connection, name: str, reader: str) -> Row[Any] | None:
    """Who else has a row, or had it open last without giving it back."""
    return connection.execute(
        text("""SELECT reader, expires_at > clock_timestamp() AS live FROM lease
                WHERE name = :name AND reader <> :reader AND ended <> 'released'"""),
        {"name": name, "reader": reader},
    ).first()


def _ask(connection: Connection, name: str, reader: str, reason: str) -> None:
    """Its holder is told who would like to have the row, until somebody else has it."""
    connection.execute(
        text("""UPDATE lease SET asked_by = :reader, asked_reason = :reason,
                    changed = txid_current() WHERE name = :name"""),
        {"name": name, "reader": reader, "reason": reason},
    )


def hand_over(
    connection: Connection,
    study: str,
    token: str,
    reader: str,
    to: str,
    lease_s: float,
    reason: str,
) -> None:
    """Gives the reader's row to somebody, with a reason. Raises QueueError as `release`."""
    if not gives_reason(reason):
        raise QueueError("reason_required")
    leases.release(connection, study, reader, token, reason)
    taken = leases.claim(connection, study, to, lease_s, sure=True)
    audit.append(
        connection, "hand_over", taken.study, actor=reader, reason=reason, detail={"to": to}
    )
