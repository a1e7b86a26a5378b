"""The only Faust application factory: every default that bites is set here, with its reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

import aiokafka
import faust
import structlog
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.auth import AuthProtocol

from streams.errors import Unavailable
from streams.kafka.topics import ALL
from streams.kafka.watermarks import Extent, Place, Watermarks
from streams.settings import StreamsSettings

log = structlog.get_logger()


#: Where reading begins, of each partition: given where its log starts and ends. Empty: no word.
Begin = Callable[[Mapping[Place, Extent]], Mapping[Place, int]]


def make_app(name: str, settings: StreamsSettings, begin: Begin | None = None) -> faust.App:
    """A Faust application of consumer group `name`; at least once, nothing kept in Faust.

    Args:
        begin: says where to read on; else, and for partitions that it leaves out, what the group
            committed.
    """
    folder = settings.state / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        name,
        broker=[f"kafka://{address}" for address in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,  # its server listens on 0.0.0.0:6066 without a password
        topic_allow_declare=False,  # `vigie topics` makes them; the mock broker cannot
        topic_disable_leader=True,
        store="memory://",
        datadir=str(folder),
        processing_guarantee="at_least_once",
        # After kill -9 nobody reads its partitions before the session ends: 60 s by default (6 s:
        # the least a broker allows).
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=10,
        broker_max_poll_interval=600,
        stream_wait_empty=False,
        stream_buffer_maxsize=8192,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        worker_redirect_stdouts=False,
        autodiscover=False,
    )
    transport = (_PromptTransport if settings.kafka_mock else _Transport)(
        app.conf.broker, app, app.loop
    )
    transport.begin = begin or _nothing_said
    app.transport = transport
    return app


def _nothing_said(_extents: Mapping[Place, Extent]) -> Mapping[Place, int]:
    return {}


async def stop_app(app: faust.App) -> None:
    """Commits and leaves the group. A broker that does not answer is not waited for: what was not
    committed is read again.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            await app.stop()


async def until_made_anew(app: faust.App, watermarks: Watermarks, every_s: float = 2.0) -> None:
    """Returns when a topic that `app` reads is no longer the one it began with: Faust passes over
    what a new one holds, until it is as long as the old one was. Who reads must begin anew.
    """
    names = {topic.name for topic in ALL}
    ids: dict[str, str] = {}
    read: set[str] = set()  # a topic that is away is read by nobody, and still ours
    doubts = 0
    while doubts < _SURE:
        reading = {
            place: app.consumer._read_offset[TP(*place)]  # type: ignore[attr-defined]
            for place in assigned(app)
        }
        read |= {topic for topic, _ in reading}
        try:
            now = await asyncio.to_thread(watermarks.ids, names)
            extents = await asyncio.to_thread(watermarks.extents, read)
        except Unavailable:
            now, extents = {}, {}
        anew = {topic for topic, known in now.items() if ids.setdefault(topic, known) != known}
        anew |= {
            place[0] for place, extent in extents.items() if (reading.get(place) or 0) > extent.end
        }
        doubts = doubts + 1 if anew & read else 0
        await asyncio.sleep(every_s)
    log.error("topic_made_anew", topics=sorted(anew & read))


def assigned(app: faust.App) -> set[Place]:
    """What `app` reads now; nothing before its consumer runs."""
    try:
        return {(at.topic, at.partition) for at in app.consumer.assignment()}
    except ConsumerNotStarted:
        return set()


#: So many looks in a row say the same: a broker that just started may know less for a moment.
_SURE = 2
_STOP_S = 8.0
#: Of the 10 s that a rebalance may take: a broker that does not answer must not hold it up.
_LAST_COMMIT_S = 2.0


class _Thread(driver.AIOKafkaConsumerThread):
    """A rebalance drops what was fetched and not yet worked on; all of it must be read again.

    Faust then seeks to the committed offsets, and aiokafka (0.14) leaves a partition without one
    where it stands: its first messages would be skipped until the next restart. One that was
    committed in another life of the topic, or whose records have expired, is no place to read on.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        committed: Mapping[TP, int] = await super().seek_to_committed()
        if not committed:
            return committed
        starts: Mapping[TP, int] = await self.earliest_offsets(*committed)
        ends: Mapping[TP, int] = await self.highwaters(*committed)
        extents = {
            (place.topic, place.partition): Extent(start, ends[place])
            for place, start in starts.items()
        }
        said = await asyncio.to_thread(cast(_Transport, self.transport).begin, extents)
        begins = {
            place: said.get(
                (place.topic, place.partition), inside(offset, starts[place], ends[place])
            )
            for place, offset in committed.items()
        }
        for place, offset in committed.items():
            lost = expired(offset, starts[place])
            if lost and (place.topic, place.partition) not in said:
                # A stage that notes no positions of its own is told here, and nowhere else.
                where = {"topic": place.topic, "partition": place.partition}
                log.error("expired_unread", **where, lost=lost)
        # Where one is taken away meanwhile, the next assignment seeks again.
        with suppress(IllegalStateError):
            # Not `seek_to_beginning`: without a position meanwhile, Faust's own watch over the
            # partitions fails.
            await self.seek_wait(begins)
        return begins

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # What an aborted transaction wrote was never said. (The mock has no transactions.)
        consumer._isolation_level = "read_committed"
        return consumer


def inside(offset: int | None, start: int, end: int) -> int:
    """The committed `offset`, where the log still holds it; else its start."""
    return offset if offset is not None and start <= offset <= end else start


def expired(offset: int | None, start: int) -> int:
    """How many positions are gone that a group had not read which committed `offset`."""
    return max(0, start - offset) if offset is not None and offset >= 0 else 0


class _Consumer(driver.Consumer):
    """Commits when a rebalance begins. Faust would forget what was acknowledged since its last
    commit, and read it again.
    """

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if revoked:
            # nothing new comes in meanwhile; Faust does the same a moment later
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self._commit_last(revoked)
        await super().on_partitions_revoked(revoked)

    async def _commit_last(self, revoked: set[TP]) -> None:
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self.maybe_wait_for_commit_to_finish()
                await self.commit(revoked)
        except TimeoutError:
            # What was acknowledged since the commit before comes again, too.
            log.warning("last_commit_missed", partitions=len(revoked), within_s=_LAST_COMMIT_S)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        log.info("assigned", generation=generation_id, partitions=len(assigned))
        await super().on_partitions_assigned(assigned, generation_id)


class _Transport(driver.Transport):
    Consumer = _Consumer
    begin: Begin


class _PromptThread(_Thread):
    """The mock broker answers an empty fetch only when its wait is over, and Faust fixes that wait
    at 1.5 s.
    """

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_uncommitted"
        consumer._fetch_max_wait_ms = 50
        return consumer


class _PromptConsumer(_Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)


class _PromptTransport(_Transport):
    Consumer = _PromptConsumer


def _credentials(settings: StreamsSettings) -> faust.auth.Credentials | None:
    protocol = AuthProtocol(settings.kafka_security)
    if protocol is AuthProtocol.PLAINTEXT:
        return None
    context = (
        ssl.create_default_context(cafile=settings.kafka_ca)
        if "SSL" in settings.kafka_security
        else None
    )
    if context is not None and not settings.kafka_username:
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        mechanism="SCRAM-SHA-512",
        ssl_context=context,
    )
