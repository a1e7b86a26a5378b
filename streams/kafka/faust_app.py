"""The only Faust application factory: every default that bites is set here, with its reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress

import aiokafka
import faust
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.auth import AuthProtocol

from streams.settings import StreamsSettings


def make_app(name: str, settings: StreamsSettings) -> faust.App:
    """A Faust application of consumer group `name`; at least once, nothing kept in Faust."""
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
    app.transport = (_PromptTransport if settings.kafka_mock else _Transport)(
        app.conf.broker, app, app.loop
    )
    return app


async def stop_app(app: faust.App) -> None:
    """Commits and leaves the group. A broker that does not answer is not waited for: what was not
    committed is read again.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            await app.stop()


_STOP_S = 8.0
#: Of the 10 s that a rebalance may take: a broker that does not answer must not hold it up.
_LAST_COMMIT_S = 2.0


class _Thread(driver.AIOKafkaConsumerThread):
    """A rebalance drops what was fetched and not yet worked on; all of it must be read again.

    Faust then seeks to the committed offsets, and aiokafka (0.14) leaves a partition without one
    where it stands: its first messages would be skipped until the next restart.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        committed: Mapping[TP, int] = await super().seek_to_committed()
        if fresh := [
            partition for partition, offset in committed.items() if offset is None or offset <= 0
        ]:
            # Where it is taken away meanwhile, the next assignment seeks again.
            with suppress(IllegalStateError):
                # Not `seek_to_beginning`: without a position meanwhile, Faust's own watch over the
                # partitions fails.
                await self.seek_wait(await self.earliest_offsets(*fresh))
        return committed


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
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_COMMIT_S):
                    await self.maybe_wait_for_commit_to_finish()
                    await self.commit(revoked)
        await super().on_partitions_revoked(revoked)


class _Transport(driver.Transport):
    Consumer = _Consumer


class _PromptThread(_Thread):
    """The mock broker answers an empty fetch only when its wait is over, and Faust fixes that wait
    at 1.5 s.
    """

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = 50
        return consumer


class _PromptConsumer(_Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)


class _PromptTransport(driver.Transport):
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
