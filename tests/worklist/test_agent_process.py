"""The list's agent as a process, on the mock broker, with a database that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from infra.embedded import MockKafka, Postgres
from streams.errors import Reason
from streams.events import Event, Parked, decode, encode
from streams.identity.seal import KeyRing, write_ring
from streams.process import run_process
from tests.worklist.conftest import T0, Make
from tests.worklist.test_agent import accessions, listed
from worklist.agent import main
from worklist.order.policy import Policy
from worklist.settings import WorklistSettings
from worklist.sql import policy_store
from worklist.sql.database import make_engine, migrate


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    # Not under pytest's own folder: another run may close that to the server's user meanwhile.
    with TemporaryDirectory(prefix="vigie-own-") as folder, Postgres(Path(folder)) as server:
        yield server


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    broker = MockKafka()
    yield broker
    broker.stop()


async def until(found: Callable[[], bool], timeout_s: float = 30) -> float:
    started = time.monotonic()
    while not await asyncio.to_thread(found):
        assert time.monotonic() - started < timeout_s, "waited for nothing"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def test_events_become_rows_poison_is_parked_and_a_database_that_goes_away_loses_nothing(
    postgres: Postgres, kafka: MockKafka, tmp_path: Path, make: Make, ring: KeyRing, policy: Policy
) -> None:
    for name in ("keys", "act-keys", "audit-keys"):
        write_ring(ring, tmp_path / f"{name}.json")
    settings = WorklistSettings(
        keys=tmp_path / "keys.json",
        act_keys=tmp_path / "act-keys.json",
        audit_keys=tmp_path / "audit-keys.json",
        kafka=kafka.address,
        kafka_mock=True,
        database=postgres.url,
        ready_file=tmp_path / "ready",
        metrics_port=0,
        batch=5,
    )
    migrate(postgres.owner)
    own = make_engine(postgres.url)
    with own.begin() as connection:
        policy_store.activate(connection, policy, actor="test", now=T0)
    producer = Producer({"bootstrap.servers": kafka.address})

    def send(topic: str, *values: Event | bytes) -> None:
        for value in values:
            producer.produce(
                topic, value if isinstance(value, bytes) else encode(value), b"k", partition=0
            )
        producer.flush(10)

    send("parked", b"{}")
    send("orders", make.order("A1"), b"\xff poison", make.order("A2", patient="P2"))
    send("series", make.series(accession="A1"))
    send("findings", make.finding())
    running = asyncio.create_task(run_process(settings, lambda process: main(process, settings)))
    try:
        await until((tmp_path / "ready").exists)
        await until(
            lambda: any(i["ai"] == "flagged" and i["accession"] == "A1" for i in listed(own))
        )
        await until(lambda: accessions(own) == ["A1", "A2"])

        first = next(i for i in listed(own) if i["accession"] == "A1")
        assert (first["study_uid"], first["lane"]) == ("1.2.1", 2)
        parked = await asyncio.to_thread(read_parked, kafka.address)
        assert [(e.reason, e.offset, ring.open(e.original)) for e in parked] == [
            (Reason.BAD_EVENT, 1, b"\xff poison")
        ]

        send("orders", b"more poison", make.order("A3", patient="P3"))
        assert await until(lambda: "A3" in accessions(own)) < 5  # the next one is on time

        own.dispose()
        postgres.stop()
        send("orders", make.order("A4", patient="P4"), make.order("A5", patient="P5"))
        await asyncio.sleep(1.0)
        assert not running.done()
        postgres.start()
        await until(lambda: {"A4", "A5"} <= set(accessions(own)))
        assert [e.reason for e in await asyncio.to_thread(read_parked, kafka.address)] == [
            Reason.BAD_EVENT
        ] * 2
    finally:
        if not running.done() and (tmp_path / "ready").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
        own.dispose()


def read_parked(address: str) -> list[Parked]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test"})
    consumer.assign([TopicPartition("parked", 0, OFFSET_BEGINNING)])
    found: list[Parked] = []
    quiet = 0
    while quiet < 8:
        message = consumer.poll(0.1)
        quiet = quiet + 1 if message is None else 0
        if (
            message is not None
            and message.error() is None
            and (value := message.value() or b"") != b"{}"
        ):
            event = decode(value)
            assert isinstance(event, Parked)
            found.append(event)
    consumer.close()
    return found
