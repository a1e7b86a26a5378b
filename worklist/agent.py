"""The list's agent: a thin Faust shell around `project.apply`. Batches in, one transaction each,
then acknowledged.

One in-order stream per process; nothing is acknowledged before its commit, and no exception leaves
(`settle`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from streams.errors import Park, Reason, Unavailable
from streams.events import Event, Parked, decode
from streams.health import serve_health, write_ready
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.faust_app import make_app
from streams.kafka.produce import Publisher
from streams.kafka.topics import FINDINGS, ORDERS, SERIES
from streams.seal import read_ring
from worklist import metrics
from worklist.settings import WorklistSettings
from worklist.sql import policy_store
from worklist.sql.database import make_engine, translated
from worklist.sql.project import Identities, apply, measure

log = structlog.get_logger()


class Stage:
    """What the agent does to one batch, without Kafka: settles each event exactly once."""

    def __init__(
        self, engine: Engine, settler: Settler, identities: Identities, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._settler = settler
        self._identities = identities
        self._now = now

    async def settle(self, batch: Sequence[Origin]) -> Fate:
        """Applies `batch` in one transaction; if that fails for good, event by event, so that only
        the guilty one is parked.
        """
        if len(batch) > 1:
            fate = await self._settler.settle(lambda: self._apply(batch), batch[0], may_park=False)
            if fate is not Fate.PARK:
                return fate
        for origin in batch:
            if (
                await self._settler.settle(lambda origin=origin: self._apply([origin]), origin)
                is Fate.STOP
            ):  # type: ignore[misc]
                return Fate.STOP
        return Fate.ACK

    async def _apply(self, batch: Sequence[Origin]) -> None:
        await asyncio.to_thread(self._transaction, [_event(origin) for origin in batch])

    def _transaction(self, events: Sequence[Event]) -> None:
        started = time.monotonic()
        try:
            with translated(), self._engine.begin() as connection:
                policy = policy_store.active(connection)
                apply(connection, events, policy=policy, identities=self._identities)
        except LookupError:
            # No policy yet: `vigie migrate` or a person will activate one.
            raise Unavailable(Reason.DATABASE_DOWN, "policy") from None
        except DBAPIError:
            # What is left after `translated` is ours or the event's: the database refuses it, and
            # always will.
            raise Park(Reason.CONSTRAINT) from None
        metrics.batch_seconds.observe(time.monotonic() - started)
        measure(events, self._now())


def _event(origin: Origin) -> Event:
    event = decode(origin.value)
    if isinstance(event, Parked):
        raise Park(Reason.BAD_EVENT)
    return event


async def run(settings: WorklistSettings) -> None:
    """Runs until SIGTERM, or until `settle` says stop (then raises SystemExit 1, and the supervisor
    starts it anew).
    """
    engine = make_engine(settings.database.get_secret_value())
    publisher = Publisher(settings)
    ring = read_ring(settings.keys)
    stage = Stage(
        engine,
        Settler("worklist", ring, publisher.publish, lambda: datetime.now(UTC)),
        Identities(ring),
        lambda: datetime.now(UTC),
    )
    app = make_app("vigie-worklist", settings)
    topic = app.topic(
        ORDERS.name, SERIES.name, FINDINGS.name, value_serializer="raw", key_serializer="raw"
    )
    ended = asyncio.Event()
    failed = False

    async def consume(stream: Any) -> None:
        nonlocal failed
        async for events in stream.noack_take(settings.batch, within=settings.batch_wait_s):
            batch = [
                Origin(
                    e.message.topic,
                    e.message.partition,
                    e.message.offset,
                    e.message.key or b"",
                    e.value,
                )
                for e in events
            ]
            for origin in batch:
                metrics_consumed(origin.topic)
            if await stage.settle(batch) is Fate.STOP:
                failed = True
                ended.set()
                # Unacknowledged: whoever reads the partition next gets the batch again.
                await asyncio.Event().wait()
            for event in events:
                event.ack()

    app.agent(topic, name="worklist")(consume)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    health = serve_health(
        settings, {"kafka": publisher.reachable, "database": lambda: reachable(engine)}
    )
    await app.start()
    write_ready(settings, {"metrics": health.port, "pid": os.getpid()})
    log.info("serving", part="worklist", metrics=health.port)
    await ended.wait()
    await app.stop()
    await asyncio.to_thread(publisher.close)
    health.stop()
    await loop.shutdown_default_executor()  # a batch in mid-transaction ends before the pool closes
    engine.dispose()
    if failed:
        raise SystemExit(1)


def metrics_consumed(topic: str) -> None:
    """Counts one event taken."""
    from streams import metrics as street

    street.consumed.labels("worklist", topic).inc()


def reachable(engine: Engine) -> bool:
    """Whether the database answers."""
    try:
        with engine.connect():
            return True
    except DBAPIError:
        return False
