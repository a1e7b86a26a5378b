"""Periodic work on the list: measure it, end leases that ran out, keep its tables narrow, rank
anew. One process at a time does it, under an advisory lock; every process measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from streams.errors import Unavailable, VigieError
from worklist import metrics
from worklist.sql import counts, leases, shared
from worklist.sql.database import translated
from worklist.sql.people import sessions, work
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank, stuck, try_again

log = structlog.get_logger()
_LOCK = 7_310_003

#: More differences than this are added up.
_FOLD_AT = 200

#: What a follower of the feed that was away for longer reads anew; what was sent; a notice that
#: nobody has taken for so long. What persons did stays until the topic has it.
TRIMS = (
    text("DELETE FROM gone WHERE at < clock_timestamp() - interval '1 hour'"),
    text("DELETE FROM outbox WHERE sent_at < clock_timestamp() - interval '7 days'"),
    text("""DELETE FROM outbox WHERE sent_at IS NULL AND kind <> 'act'
            AND at < clock_timestamp() - interval '7 days'"""),
)
_MONTHS = text(
    """SELECT closed_month(clock_timestamp()),
              closed_month(clock_timestamp() + interval '1 month')"""
)
_RETIRE = text("SELECT closed_retire(clock_timestamp() - make_interval(months => :months))")
_LAST_CHANGE = text(
    """SELECT GREATEST((SELECT changed_at FROM item ORDER BY changed DESC, name DESC LIMIT 1),
                       (SELECT at FROM gone ORDER BY at DESC LIMIT 1))"""
)


def measure(connection: Connection) -> None:
    """Sets the gauges of the list, from its counts and indexes."""
    states = dict.fromkeys(metrics.STATES, 0)
    for tally in counts.tallies(connection):
        states[tally.state] += tally.rows
    for state, count in states.items():
        metrics.studies.labels(state).set(count)
    for depth in counts.depths(connection):
        lane = metrics.LANES[depth.lane]
        metrics.waiting.labels(lane).set(depth.unread)
        metrics.oldest_wait.labels(lane).set(depth.oldest_s)
        metrics.overdue.labels(lane).set(depth.overdue)
    metrics.stuck.set(stuck(connection))
    metrics.skipped_often.set(len(work.skipped_often(connection)))
    metrics.unanswered.set(counts.unanswered(connection))
    for named_by, count in shared.counted(connection).items():
        metrics.shared_numbers.labels(named_by).set(count)
    changed = connection.scalar(_LAST_CHANGE)
    metrics.list_age.set(changed.timestamp() if changed else 0)


def fold(connection: Connection) -> None:
    """Adds up the counts when there are many differences."""
    most = text("SELECT count(*) FROM (SELECT FROM tally LIMIT :n) seen")
    if (connection.scalar(most, {"n": _FOLD_AT + 1}) or 0) > _FOLD_AT:
        counts.fold(connection)


def trim(connection: Connection) -> None:
    """Takes away what nobody will ask for again."""
    for statement in TRIMS:
        connection.execute(statement)


def partition(connection: Connection, months: int) -> None:
    """Makes this and the next month's partition of what is closed, and retires those that are older
    than `months`: they leave the list for the schema `archive`, where the owner may drop them.
    """
    connection.execute(_MONTHS)
    for part in connection.scalars(_RETIRE, {"months": months}):
        log.info("partition_retired", partition=part)


class Chores:
    """The chores of one process."""

    def __init__(self, engine: Engine, opener: Opener, closed_months: int) -> None:
        self._engine = engine
        self._opener = opener
        self._alone: dict[str, Callable[[Connection], object]] = {
            "expire": leases.expire,
            "fold": fold,
            "trim": trim,
            "sessions": sessions.trim,
            "skips": work.trim,
            "partition": lambda connection: partition(connection, closed_months),
        }
        self._tried_again = False

    def round(self) -> None:
        """One round. What one chore cannot do does not keep the others from theirs.

        Raises:
            Unavailable: the database is away.
        """
        with translated(), self._engine.begin() as connection:
            measure(connection)
        with self._only_one() as mine:
            if not mine:
                return
            for name, chore in self._alone.items():
                with _counted(name), translated(), self._engine.begin() as connection:
                    chore(connection)
            with _counted("rerank"):
                self._rerank()

    def _rerank(self) -> None:
        if not self._tried_again:
            with translated(), self._engine.begin() as connection:
                try_again(connection)
            self._tried_again = True
        rerank(self._engine, self._opener)

    @contextmanager
    def _only_one(self) -> Iterator[bool]:
        """Whether no other process is at it; the lock is the session's, and ends with it."""
        with (
            translated(),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            mine = connection.scalar(text("SELECT pg_try_advisory_lock(:n)"), {"n": _LOCK})
            try:
                yield bool(mine)
            finally:
                if mine:
                    connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _LOCK})


@contextmanager
def _counted(chore: str) -> Iterator[None]:
    """What a chore could not do is counted and said; a database that is away ends the round."""
    try:
        yield
    except Unavailable:
        raise
    except (VigieError, LookupError, DBAPIError) as error:
        metrics.chores_failed.labels(chore).inc()
        log.warning("chore_failed", chore=chore, why=str(error).splitlines()[0])


async def run(chores: Chores, every_s: float = 5.0) -> None:
    """Chores for ever; a database that is away is waited for."""
    while True:
        try:
            await asyncio.to_thread(chores.round)
        except (VigieError, DBAPIError) as error:
            log.warning("chores_wait", error=type(error).__name__)
        await asyncio.sleep(every_s)
