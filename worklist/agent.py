"""The list's agent: a thin Faust shell around `project.apply`. Batches in, one transaction each,
then acknowledged.

One in-order stream per process; nothing is acknowledged before its commit, and no exception leaves
(`settle`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from streams import metrics as street
from streams.errors import Park, Reason, Unavailable
from streams.events import Event, Parked, decode
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.faust_app import make_app, stop_app
from streams.kafka.produce import Publisher
from streams.kafka.topics import FINDINGS, ORDERS, SERIES
from streams.process import Process
from streams.seal import read_ring
from worklist import metrics
from worklist.settings import WorklistSettings
from worklist.sql import policy_store
from worklist.sql.database import make_engine, translated
from worklist.sql.project import Identities, apply, measure

_STAGE = "worklist"


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
            if await self._settler.settle(partial(self._apply, [origin]), origin) is Fate.STOP:
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


class Agent:
    """Feeds one in-order stream of batches to `stage`; `fail` is called when it says stop."""

    def __init__(self, stage: Stage, settings: WorklistSettings, fail: Callable[[], None]) -> None:
        self._stage = stage
        self._settings = settings
        self._fail = fail

    async def consume(self, stream: Any) -> None:
        """Takes batches for ever; each is acknowledged after its commit."""
        settings = self._settings
        async for events in stream.noack_take(settings.batch, within=settings.batch_wait_s):
            batch = [_origin(event) for event in events]
            for origin in batch:
                street.consumed.labels(_STAGE, origin.topic).inc()
            if await self._stage.settle(batch) is Fate.STOP:
                self._fail()
                # Unacknowledged: whoever reads the partition next gets the batch again.
                await asyncio.Event().wait()
            for event in events:
                event.ack()


def _origin(event: Any) -> Origin:
    message = event.message
    return Origin(message.topic, message.partition, message.offset, message.key or b"", event.value)


async def main(process: Process, settings: WorklistSettings) -> None:
    """Applies events until the process is to end, or until `settle` says stop."""
    stack = process.stack
    ring = read_ring(settings.keys)
    engine = make_engine(settings.database.get_secret_value())
    stack.callback(engine.dispose)
    # a batch in mid-transaction ends before the pool closes
    stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
    publisher = Publisher(settings)
    stack.callback(publisher.close)
    stage = Stage(
        engine,
        Settler(_STAGE, ring, publisher.publish, lambda: datetime.now(UTC)),
        Identities(ring),
        lambda: datetime.now(UTC),
    )
    app = make_app("vigie-worklist", settings)
    topic = app.topic(
        ORDERS.name, SERIES.name, FINDINGS.name, value_serializer="raw", key_serializer="raw"
    )
    app.agent(topic, name=_STAGE)(Agent(stage, settings, process.fail).consume)
    checks = {"kafka": publisher.reachable, "database": lambda: reachable(engine)}
    metrics_port = process.serve_health(checks)
    await app.start()
    stack.push_async_callback(stop_app, app)
    process.ready(metrics=metrics_port)
    await process.until_ended()


def reachable(engine: Engine) -> bool:
    """Whether the database answers."""
    try:
        with engine.connect():
            return True
    except DBAPIError:
        return False
