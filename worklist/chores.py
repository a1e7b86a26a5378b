"""Periodic work on the list: measure it, end leases that ran out, seal the audit, rank anew. One
process at a time does it, under an advisory lock; every process measures.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection, Engine, text

from streams.errors import VigieError
from worklist import metrics
from worklist.sql import audit, policy_store
from worklist.sql.database import translated
from worklist.sql.project import Identities
from worklist.sql.queue import depths

log = structlog.get_logger()
_LOCK = 7_310_003


def expire(connection: Connection) -> int:
    """Ends leases that ran out, as a lost browser's does; returns how many. `opened_by` stays, so
    that the next reader is told.
    """
    rows = connection.execute(
        text("""UPDATE study SET claimed_by = NULL, lease_token = NULL, lease_expires_at = NULL,
                    changed = txid_current(), changed_at = clock_timestamp()
                WHERE study IN (
                    SELECT study FROM study WHERE lease_expires_at < clock_timestamp()
                    ORDER BY study FOR UPDATE SKIP LOCKED)
                RETURNING study, opened_by""")
    ).all()
    for row in rows:
        audit.append(connection, "expire", row.study, actor=row.opened_by or "")
    return len(rows)


def measure(connection: Connection) -> None:
    """Sets the gauges of the list."""
    states = dict.fromkeys(metrics.STATES, 0)
    lanes: dict[int, list[float]] = {lane: [0, 0, 0] for lane in range(len(metrics.LANES))}
    for row in depths(connection):
        states[row.state] += row.rows
        lanes[row.lane][0] += row.unread
        lanes[row.lane][1] = max(lanes[row.lane][1], row.oldest_s)
        lanes[row.lane][2] += row.overdue
    for state, count in states.items():
        metrics.studies.labels(state).set(count)
    for lane, (unread, oldest, overdue) in lanes.items():
        name = metrics.LANES[lane]
        metrics.waiting.labels(name).set(unread)
        metrics.oldest_wait.labels(name).set(oldest)
        metrics.overdue.labels(name).set(overdue)
    metrics.unsealed.set(
        connection.scalar(text("SELECT count(*) FROM audit WHERE place IS NULL")) or 0
    )
    changed = connection.scalar(text("SELECT max(changed_at) FROM study"))
    metrics.list_age.set(changed.timestamp() if changed else 0)


def round_of_chores(engine: Engine, identities: Identities) -> None:
    """One round.

    Raises:
        VigieError: the database is away.
        LookupError: no policy is active.
    """
    with translated():
        with engine.begin() as connection:
            measure(connection)
            if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": _LOCK}):
                return
            expire(connection)
        with engine.begin() as connection:
            audit.seal(connection)
        policy_store.rerank(engine, identities)


async def run(engine: Engine, identities: Identities, every_s: float = 5.0) -> None:
    """Chores for ever; a database that is away is waited for."""
    while True:
        try:
            await asyncio.to_thread(round_of_chores, engine, identities)
        except (VigieError, LookupError) as error:
            log.warning("chores_wait", error=type(error).__name__)
        await asyncio.sleep(every_s)
