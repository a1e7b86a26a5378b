"""The outbox's relay: what persons did goes to the topic `acts`, whose copy of it a backup is
completed from. At least once, and in order per row; of several web processes one sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from streams.errors import VigieError
from streams.kafka.topics import ACTS
from worklist import metrics
from worklist.sql.database import translated
from worklist.writeback.leader import Leader

log = structlog.get_logger()
_LOCK = 7_310_004

#: Acts of one round.
_ROUND = 200

#: A broker takes records of 1 MiB by default, with what frames them.
_MOST_BYTES = 1_000_000

#: More are not counted: the gauge says "many".
_COUNTED = 10_000

#: Below the oldest transaction that still runs, nothing can appear any more: a later act of a row
#: waits for an earlier one whose commit is not seen yet. (Never by the highest id.)
_NEXT = text(
    """SELECT id, item, body FROM outbox
       WHERE kind = 'act' AND sent_at IS NULL AND id <> ALL(:refused)
       AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
       ORDER BY id LIMIT :most"""
)
_SENT = text("UPDATE outbox SET sent_at = clock_timestamp() WHERE id = ANY(:ids)")
_UNSENT = text(
    """SELECT count(*) AS waiting,
              COALESCE(extract(epoch FROM clock_timestamp() - min(at)), 0) AS oldest_s
       FROM (SELECT at FROM outbox WHERE kind = 'act' AND sent_at IS NULL
             ORDER BY id LIMIT :most) unsent"""
)

Publish = Callable[[str, str, bytes], Awaitable[None]]


@dataclass(frozen=True)
class _Act:
    """One row of the outbox as it travels."""

    id: int
    item: str
    body: bytes


class Relay:
    """One process's relay. `publish` returns once the broker has confirmed."""

    def __init__(self, engine: Engine, publish: Publish) -> None:
        self._engine = engine
        self._publish = publish
        self._leader = Leader(engine, _LOCK)
        self._refused: set[int] = set()

    async def round(self) -> int:
        """Sends what waits, where this process is the one that sends; how many it sent.

        Raises:
            Unavailable: database or broker is away; what was confirmed before is noted.
        """
        sent: list[int] = []
        try:
            for act in await asyncio.to_thread(self._next):
                if len(act.body) > _MOST_BYTES:
                    self._refuse(act)
                    continue
                await self._publish(ACTS.name, act.item, act.body)
                sent.append(act.id)
        finally:
            if sent:
                await asyncio.to_thread(self._note, sent)
        return len(sent)

    def _next(self) -> list[_Act]:
        with translated(), self._engine.connect() as connection:
            unsent = connection.execute(_UNSENT, {"most": _COUNTED}).one()
            metrics.outbox_unsent.set(unsent.waiting)
            metrics.outbox_oldest.set(float(unsent.oldest_s))
            if not unsent.waiting or not self._leader.leads():
                return []
            rows = connection.execute(_NEXT, {"refused": list(self._refused), "most": _ROUND})
            return [_Act(row.id, row.item, orjson.dumps(row.body)) for row in rows]

    def _note(self, ids: list[int]) -> None:
        with translated(), self._engine.begin() as connection:
            connection.execute(_SENT, {"ids": ids})
        metrics.outbox_sent.inc(len(ids))

    def _refuse(self, act: _Act) -> None:
        """It stays unsent, and told: the list has it, only its copy is missing."""
        self._refused.add(act.id)
        metrics.outbox_refused.inc()
        log.error("act_too_large", outbox=act.id, bytes=len(act.body))

    def close(self) -> None:
        """Lets another process send; no round may run any more."""
        self._leader.close()


async def run(relay: Relay, every_s: float = 0.5) -> None:
    """Sends for ever; what is away is waited for."""
    while True:
        try:
            sent = await relay.round()
        except (VigieError, SQLAlchemyError) as error:
            log.warning("relay_waits", error=str(error).splitlines()[0])
            sent = 0
        if sent < _ROUND:
            await asyncio.sleep(every_s)
