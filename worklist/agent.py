"""The list's agent: a thin Faust shell around `sql.writing`. Batches in, one transaction each, then
acknowledged.

One in-order stream per process; nothing is acknowledged before its commit, and no exception leaves
(`settle`).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import faust
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streams import metrics as street
from streams.errors import Park, Reason, Stop, Unavailable, VigieError
from streams.events import (
    Event,
    FindingsMade,
    OrderChanged,
    Parked,
    SenderSeen,
    SeriesReceived,
    decode,
)
from streams.identity.seal import read_ring
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.faust_app import Begin, assigned, make_app, stop_app, until_made_anew
from streams.kafka.produce import Publisher
from streams.kafka.watermarks import Extent, Place, Watermarks
from streams.process import Process
from worklist import metrics, sealing
from worklist.freshness import TOPICS, StandStill, Watch
from worklist.order.policy import Policy
from worklist.record.images import clock_is_off
from worklist.settings import WorklistSettings
from worklist.sql import policy_store
from worklist.sql.database import answers, make_engine, translated
from worklist.sql.writing import positions
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.positions import Look, note_positions

log = structlog.get_logger()
_STAGE = "worklist"


class Stage:
    """What the agent does to one batch, without Kafka: settles each event exactly once.

    Attributes:
        settler: says what became of each, and what is waited for.
        done: how many events were settled.
    """

    def __init__(
        self,
        engine: Engine,
        settler: Settler,
        opener: Opener,
        now: Callable[[], datetime],
        look: Look,
    ) -> None:
        self.settler = settler
        self.done = 0
        self._engine = engine
        self._opener = opener
        self._now = now
        self._look = look
        self._parked: list[Origin] = []  # whose positions are not noted yet

    async def settle(self, batch: Sequence[Origin]) -> Fate:
        """Applies `batch` in one transaction; if that fails for good, event by event, so that only
        the guilty one is parked.
        """
        fate = await self._settle(batch)
        if self._parked and fate is not Fate.STOP:
            fate = await asyncio.to_thread(self._note_parked)
        return fate

    async def _settle(self, batch: Sequence[Origin]) -> Fate:
        if len(batch) > 1:
            fate = await self.settler.settle(lambda: self._apply(batch), batch[0], may_park=False)
            if fate is not Fate.PARK:
                return fate
        for origin in batch:
            fate = await self.settler.settle(partial(self._apply, [origin]), origin)
            if fate is Fate.STOP:
                return fate
            if fate is Fate.PARK:
                self._parked.append(origin)
                self.done += 1
        return Fate.ACK

    async def _apply(self, batch: Sequence[Origin]) -> None:
        events = [_event(origin) for origin in batch]
        await asyncio.to_thread(self._transaction, batch, events)
        self.done += len(batch)

    def _transaction(self, batch: Sequence[Origin], events: Sequence[Event]) -> None:
        started = time.monotonic()
        parked = list(self._parked)
        try:
            with translated(), self._engine.begin() as connection:
                policy = _policy(connection)
                apply(connection, events, policy=policy, opener=self._opener)
                told = [*(None for _ in parked), *events]
                note_positions(connection, [*parked, *batch], told, self._look)
        except DBAPIError as error:
            # What is left after `translated` the database refuses, and always will: a value that it
            # cannot hold (class 22: a NUL, a number out of range) is the event's fault, else ours.
            state = getattr(error.orig, "sqlstate", None) or ""
            raise Park(Reason.BAD_EVENT if state.startswith("22") else Reason.CONSTRAINT) from None
        self._parked.clear()
        metrics.batch_seconds.observe(time.monotonic() - started)
        measure(events, self._now(), policy)

    def _note_parked(self) -> Fate:
        """Notes how far was read; what cannot be noted now is noted with the next batch."""
        try:
            with translated(), self._engine.begin() as connection:
                note_positions(connection, self._parked, [None] * len(self._parked), self._look)
        except Stop:
            return Fate.STOP
        except (VigieError, DBAPIError) as error:
            log.warning("position_not_noted", error=type(error).__name__)
        else:
            self._parked.clear()
        return Fate.ACK


def _policy(connection: Connection) -> Policy:
    try:
        return policy_store.active(connection)
    except LookupError:
        # `vigie migrate` or a person will activate one
        raise Unavailable(Reason.DATABASE_DOWN, "policy") from None


def _event(origin: Origin) -> Event:
    event = decode(origin.value)
    if isinstance(event, Parked | SenderSeen):
        raise Park(Reason.BAD_EVENT)
    return event


def measure(events: Sequence[Event], now: datetime, policy: Policy) -> None:
    """Notes how long after the door the batch was applied, and whose clocks were off (call after
    the commit).
    """
    for event in events:
        if isinstance(event, SeriesReceived) and clock_is_off(event, policy.historic_after_days):
            metrics.doubtful_clocks.labels(event.sender).inc()
        age = max(0.0, (now - event.received_at).total_seconds())
        match event:
            case FindingsMade():
                metrics.image_to_rank.observe(age)
            case OrderChanged() | SeriesReceived():
                metrics.door_to_list.observe(age)
    metrics.batch_events.observe(len(events))
    metrics.applied.set(now.timestamp())


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
    return Origin(
        message.topic, message.partition, message.offset, message.key or b"", event.value or b""
    )


def collect_seldom() -> None:
    """Looks for circles of garbage every 10,000 objects, and never among those of the start: a
    batch makes many objects and no circle, and looking took an eighth of its time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def beginning(engine: Engine, watermarks: Watermarks, *, forgetful: bool) -> Begin:
    """Where the agent's reading begins: at what the database holds. While that is away, at what the
    group committed; the first batch then sees whether something lies between.
    """

    def begin(extents: Mapping[Place, Extent]) -> Mapping[Place, int]:
        try:
            ids = watermarks.ids({topic for topic, _ in extents})
            with translated(), engine.begin() as connection:
                return positions.begin(connection, extents, ids, expected=forgetful)
        except (VigieError, SQLAlchemyError) as error:
            log.warning("begins_at_the_committed", error=type(error).__name__)
            return {}

    return begin


async def main(process: Process, settings: WorklistSettings) -> None:
    """Applies events until the process is to end, or until `settle` says stop."""
    stack = process.stack
    ring = read_ring(settings.keys)
    engine = make_engine(settings.database.get_secret_value(), statement_s=settings.statement_s)
    stack.callback(engine.dispose)
    sealer = sealing.open_sealer(settings)
    stack.callback(sealer.engine.dispose)
    # a batch in mid-transaction ends before the pool closes
    stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
    publisher = Publisher(settings)
    stack.callback(publisher.close)
    watermarks = Watermarks(settings)
    stack.callback(watermarks.close)
    stage = Stage(
        engine,
        Settler(_STAGE, ring, publisher.publish, lambda: datetime.now(UTC)),
        Opener(ring, read_ring(settings.act_keys, "VIGIE_ACT_KEYS")),
        lambda: datetime.now(UTC),
        watermarks.between,
    )
    begin = beginning(engine, watermarks, forgetful=settings.kafka_mock)
    app = make_app("vigie-worklist", settings, begin)
    topic = app.topic(*TOPICS, value_serializer="raw", key_serializer="raw")
    app.agent(topic, name=_STAGE)(Agent(stage, settings, process.fail).consume)
    watch = Watch(engine, watermarks)
    checks = {
        "kafka": publisher.reachable,
        "database": lambda: answers(engine),
        "fresh": lambda: watch.last.fresh(settings.stale_s),
    }
    metrics_port = process.serve_health(checks)
    await app.start()
    stack.push_async_callback(stop_app, app)
    process.keep(until_made_anew(app, watermarks))
    process.keep(_look_on(app, watch, stage, StandStill(settings.stall_s)))
    process.keep(sealing.run(sealer))
    collect_seldom()
    process.ready(metrics=metrics_port)
    await process.until_ended()


async def _look_on(
    app: faust.App, watch: Watch, stage: Stage, still: StandStill, every_s: float = 2.0
) -> None:
    """Measures how far the list is behind. Ends when the agent stands still, or when the log lost
    what it had not read yet: reading begins anew.
    """
    while True:
        await asyncio.sleep(every_s)
        waits = stage.settler.waits_for
        for wanted in metrics.WAITS:
            metrics.waits_for.labels(wanted).set(wanted == waits)
        fresh = await asyncio.to_thread(watch.look, datetime.now(UTC), waits)
        mine = assigned(app)
        if gone := sorted(mine.intersection(watch.expired)):
            log.error("expired_unread", places=gone)
            return
        idle = bool(fresh.waits_for) or not mine & watch.waiting
        for_s = still.look(time.monotonic(), stage.done, idle=idle)
        metrics.still.set(for_s)
        if for_s >= still.limit_s:
            log.error("stands_still", behind=fresh.behind_events, for_s=round(for_s))
            return
