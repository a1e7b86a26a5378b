"""What happens to a reader when the log under it changes, on Apache Kafka: records that expire, a
topic made anew, and records that are none of ours between good ones. The mock can show none of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, text

from infra.kafka import Kafka
from streams.events import encode
from streams.identity.seal import KeyRing, write_ring
from streams.kafka.admin import make_topics
from streams.kafka.parked import entries
from streams.kafka.topics import FINDINGS, ORDERS
from streams.kafka.watermarks import Record, Watermarks
from streams.settings import StreamsSettings
from tests.worklist.conftest import Make, database_url, engine, make, policy, session_engine
from worklist.sql.writing import positions

__all__ = ["database_url", "engine", "make", "policy", "session_engine"]
pytestmark = pytest.mark.needs("java", "mvn")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Of our own: these tests take its topics away."""
    with Kafka(tmp_path_factory.mktemp("gaps")) as broker:
        make_topics(StreamsSettings(kafka=broker.address))
        yield broker


@pytest.fixture
def settings(kafka: Kafka) -> StreamsSettings:
    return StreamsSettings(kafka=kafka.address)


class Supervisor:
    """One worklist, always."""

    def __init__(self, environment: dict[str, str], log: IO[bytes]) -> None:
        self._start = partial(
            subprocess.Popen,
            [sys.executable, "-m", "infra.cli", "worklist"],
            env=environment,
            stdout=log,
            stderr=log,
        )
        self._process = self._start()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ending.wait(0.1):
            if self._process.poll() is not None:
                self._process = self._start()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._process.terminate()
        self._process.wait(30)


Reading = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def reading(
    kafka: Kafka, engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> Reading:
    """The worklist's process, from entry to exit of a block; started anew when it ends itself."""
    for name in ("keys", "act-keys", "audit-keys"):
        write_ring(ring, tmp_path / f"{name}.json")
    told = {
        "KAFKA": kafka.address,
        "DATABASE": database_url,
        "KEYS": tmp_path / "keys.json",
        "ACT_KEYS": tmp_path / "act-keys.json",
        "AUDIT_KEYS": tmp_path / "audit-keys.json",
        "STATE": tmp_path,
        "METRICS_PORT": 0,
    }
    environment = os.environ | {f"VIGIE_{name}": str(value) for name, value in told.items()}

    @contextmanager
    def run() -> Iterator[None]:
        with (tmp_path / "worklist.log").open("ab") as log, Supervisor(environment, log):
            yield

    return run


def until(found: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.1)


def send(kafka: Kafka, make: Make, names: list[str], topic: str = ORDERS.name) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, "acks": "all"})
    for name in names:
        producer.produce(topic, encode(make.order(name, patient=name)), b"k", partition=0)
    assert producer.flush(20) == 0


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def rows(engine: Engine, prefix: str) -> int:
    with engine.connect() as connection:
        return (
            connection.scalar(
                text("SELECT count(*) FROM item WHERE accession LIKE :like"), {"like": f"{prefix}%"}
            )
            or 0
        )


def lost(engine: Engine, topic: str = ORDERS.name) -> tuple[int, bool]:
    """How many positions of partition 0 are known to be lost, and whether that alarms."""
    with engine.connect() as connection:
        for position in positions.read(connection):
            if position.place == (topic, 0):
                return position.lost, position.gap_at is not None
    return 0, False


def delete_before(kafka: Kafka, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for done in admin.delete_records([TopicPartition(ORDERS.name, 0, offset)]).values():
        done.result(10)


def make_anew(kafka: Kafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.delete_topics([topic])[topic].result(10)
    deadline = time.monotonic() + 15
    while topic in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    make_topics(StreamsSettings(kafka=kafka.address))


def end_of(kafka: Kafka) -> int:
    asked = Watermarks(StreamsSettings(kafka=kafka.address))
    end = asked.extents([ORDERS.name])[ORDERS.name, 0].end
    asked.close()
    return end


def test_records_that_expire_while_the_list_is_down_are_told_and_the_rest_is_read(
    kafka: Kafka, engine: Engine, reading: Reading, make: Make
) -> None:
    send(kafka, make, named("A0-", 41))
    with reading():
        until(lambda: rows(engine, "A0-") == 41)
    send(kafka, make, named("B0-", 100))
    delete_before(kafka, end_of(kafka) - 5)
    with reading():
        until(lambda: rows(engine, "B0-") == 5)
        send(kafka, make, named("C0-", 3))
        until(lambda: rows(engine, "C0-") == 3)
    assert lost(engine) == (95, True)


def test_a_topic_made_anew_is_read_from_its_start_while_running_and_after(
    kafka: Kafka, engine: Engine, reading: Reading, make: Make
) -> None:
    send(kafka, make, named("A1-", 60))
    with reading():
        until(lambda: rows(engine, "A1-") == 60)
        make_anew(kafka, ORDERS.name)
        # more than the old one held: only its id tells that it is another
        send(kafka, make, named("B1-", 300))
        until(lambda: rows(engine, "B1-") == 300)
    assert lost(engine)[1]


def test_what_is_none_of_ours_between_good_records_is_parked_and_all_others_arrive(
    kafka: Kafka, engine: Engine, reading: Reading, settings: StreamsSettings, make: Make
) -> None:
    """Tombstone, null, JSON's null, no key, foreign headers, an aborted transaction."""
    before = len(list(entries(settings)))
    send(kafka, make, named("A2-", 50))
    producer = Producer({"bootstrap.servers": kafka.address})
    good = encode(make.order("WITHHEADERS", patient="PH"))
    producer.produce(ORDERS.name, None, b"k", partition=0)
    producer.produce(ORDERS.name, None, None, partition=0)
    producer.produce(ORDERS.name, b"null", b"k", partition=0)
    producer.produce(ORDERS.name, b"", b"k", partition=0)
    producer.produce(ORDERS.name, good, b"k", 0, headers={"foreign": b"\xff\x00"})
    nokey = encode(make.order("WITHOUTKEY", patient="PK"))
    producer.produce(ORDERS.name, nokey, None, partition=0)
    assert producer.flush(20) == 0
    foreign = Producer({"bootstrap.servers": kafka.address, "transactional.id": "foreign"})
    foreign.init_transactions(20)
    foreign.begin_transaction()
    foreign.produce(ORDERS.name, encode(make.order("NEVER", patient="PN")), b"k", partition=0)
    foreign.flush(20)
    foreign.abort_transaction(20)
    send(kafka, make, named("B2-", 50))
    with reading():
        until(lambda: rows(engine, "A2-") == 50 and rows(engine, "B2-") == 50)
        send(kafka, make, named("C2-", 2))
        until(lambda: rows(engine, "C2-") == 2)
        assert rows(engine, "WITH") == 2
        assert rows(engine, "NEVER") == 0
    assert len(list(entries(settings))) - before == 4
    assert lost(engine) == (0, False), "the mark of an aborted transaction is no gap"


def test_a_restored_backup_gets_what_came_since_from_the_topics(
    kafka: Kafka, engine: Engine, reading: Reading, make: Make
) -> None:
    send(kafka, make, named("A3-", 30))
    with reading():
        until(lambda: rows(engine, "A3-") == 30)
    with engine.begin() as connection:  # as it was before, and the group has committed all
        connection.execute(text('UPDATE log_position SET "offset" = "offset" - 30'))
        connection.execute(text("TRUNCATE fact, node, naming, patient_number, item, member"))
    with reading():
        until(lambda: rows(engine, "A3-") == 30)


def test_the_mark_of_an_aborted_transaction_at_the_end_is_nothing_that_waits(
    kafka: Kafka,
) -> None:
    foreign = Producer({"bootstrap.servers": kafka.address, "transactional.id": "another"})
    foreign.init_transactions(20)
    asked = Watermarks(StreamsSettings(kafka=kafka.address))
    place = (FINDINGS.name, 0)
    before = asked.extents([FINDINGS.name])[place].end
    foreign.begin_transaction()
    foreign.produce(FINDINGS.name, b"x", b"k", partition=0)
    foreign.flush(20)
    foreign.abort_transaction(20)
    assert asked.oldest({place: before}) == {place: None}
    foreign.begin_transaction()
    foreign.produce(FINDINGS.name, b"x", b"k", partition=0)
    foreign.commit_transaction(20)
    found = asked.oldest({place: before})[place]
    assert isinstance(found, Record)
    assert found.offset > before
    ids = asked.ids([FINDINGS.name])
    assert ids[FINDINGS.name]
    asked.close()
