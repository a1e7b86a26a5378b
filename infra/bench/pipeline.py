"""From publish to the list through Kafka and the real agent's process, beside a bare
produce/consume loop with the same SQL.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from sqlalchemy import text

from infra.bench.hospital import Database, Recorder, Statement, database, events, replay
from infra.bench.measure import Result, compare
from infra.bench.process import process
from infra.bench.worklist import BATCH, settle, whole
from infra.embedded import MockKafka
from streams.errors import Reason, Retry
from streams.identity.seal import KeyRing, new_ring
from streams.kafka.consume import Origin, Settler
from streams.kafka.produce import Publisher
from streams.kafka.topics import FINDINGS, ORDERS, SERIES
from streams.settings import StreamsSettings
from worklist.agent import Stage
from worklist.sql.writing.opening import Opener

_AT_ONCE = 500  # publishes that wait for their confirmation, as many connections of a gateway do
_END_S = 120.0


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Both by turns: one mock broker, one PostgreSQL, the worklist's process up all the time and
    idle in the other's turn.
    """
    ring, studies = new_ring(), 100 if quick else 700
    with (
        tempfile.TemporaryDirectory(prefix="vigie-bench-", ignore_cleanup_errors=True) as name,
        database() as base,
    ):
        broker, bare_broker = MockKafka(), MockKafka()
        recorded = _record(base, events(studies, ring, "r"), ring)
        turn = iter(range(10**6))
        site = {"database": base.url, "batch": BATCH, "site": Path(__file__).parents[1] / "site"}
        agent = process("worklist", Path(name), broker.address, ring, site)
        with agent, psycopg.connect(base.url, options="-c timezone=UTC") as bare:
            what = (
                "publish to ranked row through Kafka and the agent, beside bare confluent-kafka "
                "and psycopg with the same SQL"
            )
            result = compare(
                "pipeline",
                what,
                "events/s",
                lambda: _ours(base, broker.address, events(studies, ring, f"p{next(turn)}")),
                lambda: _reference(
                    base, bare_broker.address, bare, recorded, events(studies, ring, "r")
                ),
                runs=runs,
            )
        broker.stop()
        bare_broker.stop()
    return [result]


def _record(base: Database, taken: Sequence[Origin], ring: KeyRing) -> list[list[Statement]]:
    async def refuse(_topic: str, _key: str, _value: bytes) -> None:
        raise Retry(Reason.UNEXPECTED)

    def now() -> datetime:
        return datetime.now(UTC)

    base.empty()
    recorder = Recorder(base.engine)
    stage = Stage(
        base.engine, Settler("worklist", ring, refuse, now), Opener(ring, ring), now, whole
    )
    settle(base, stage, [list(taken[at : at + BATCH]) for at in range(0, len(taken), BATCH)])
    return [
        one
        for one in recorder.stop()
        if not any("TRUNCATE" in s.sql or "CHECKPOINT" in s.sql for s in one)
    ]


def _ours(base: Database, address: str, taken: Sequence[Origin]) -> float:
    base.empty()
    publisher = Publisher(StreamsSettings(kafka=address))
    started = time.perf_counter()

    async def publish() -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(origin: Origin) -> None:
            async with room:
                await publisher.publish(origin.topic, origin.key.decode(), origin.value)

        await asyncio.gather(*map(one, taken))

    asyncio.run(publish())
    _wait(base, len(taken))
    rate = len(taken) / (time.perf_counter() - started)
    publisher.close()
    return rate


def _wait(base: Database, facts: int) -> None:
    """Until all are on the list: each event of the bench is a fact of its own."""
    deadline = time.monotonic() + _END_S
    with base.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while (there := connection.scalar(text("SELECT count(*) FROM fact"))) != facts:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{there} of {facts} events are on the list after {_END_S:.0f} s"
                )
            time.sleep(0.02)


def _reference(
    base: Database,
    address: str,
    bare: psycopg.Connection,
    recorded: Sequence[list[Statement]],
    taken: Sequence[Origin],
) -> float:
    """Produces all with acks=all, consumes in batches, and for each batch does the SQL that the
    stage did for as many events.
    """
    base.empty()
    # As ours: the mock answers an empty fetch only when its wait is over.
    config = {
        "bootstrap.servers": address,
        "group.id": "bench",
        "fetch.wait.max.ms": 50,
        "log_level": 0,
    }
    consumer = Consumer(config)
    places = [
        TopicPartition(topic.name, number)
        for topic in (ORDERS, SERIES, FINDINGS)
        for number in range(topic.partitions)
    ]
    ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
    consumer.assign(
        [
            TopicPartition(place.topic, place.partition, end)
            for place, end in zip(places, ends, strict=True)
        ]
    )
    consumer.consume(1, 0.5)  # fetching, before the clock starts
    deadline = time.monotonic() + _END_S
    producer = Producer(
        {
            "bootstrap.servers": address,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            "log_level": 0,
        }
    )
    started = time.perf_counter()
    for origin in taken:
        producer.produce(origin.topic, origin.value, origin.key)
        producer.poll(0)
    producer.flush(30)
    seen = done = 0
    while seen < len(taken):
        seen += len(consumer.consume(BATCH, 0.02))
        while done < len(recorded) and seen >= min((done + 1) * BATCH, len(taken)):
            replay(bare, recorded[done])
            done += 1
        if time.monotonic() > deadline:
            raise RuntimeError(f"the bare loop saw {seen} of {len(taken)} events")
    rate = len(taken) / (time.perf_counter() - started)
    consumer.close()
    return rate
