"""How far the list is behind: the broker's word against the database's, also when nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine, create_engine

from infra.embedded import MockKafka
from streams.kafka.consume import Origin
from streams.kafka.watermarks import Extent, Watermarks
from streams.settings import StreamsSettings
from tests.worklist.conftest import T0, Make
from worklist.freshness import Freshness, StandStill, Watch
from worklist.sql.writing import positions


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    broker = MockKafka()
    yield broker
    broker.stop()


@pytest.fixture
def watermarks(kafka: MockKafka) -> Iterator[Watermarks]:
    one = Watermarks(StreamsSettings(kafka=kafka.address, kafka_mock=True))
    yield one
    one.close()


def send(kafka: MockKafka, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, "log_level": 0})
    for _ in range(count):
        producer.produce(topic, b"x", b"k", partition=0)
    assert producer.flush(10) == 0


def apply_up_to(engine: Engine, make: Make, topic: str, offset: int) -> None:
    with engine.begin() as connection:
        origin = Origin(topic, 0, offset, b"k", b"v")
        positions.note_positions(
            connection, [origin], [make.order()], lambda _place, at: (0, 10**9)
        )


def test_events_that_wait_are_counted_and_aged_until_they_are_applied(
    engine: Engine, kafka: MockKafka, watermarks: Watermarks, make: Make
) -> None:
    watch = Watch(engine, watermarks)
    start = watermarks.extents(["orders"])["orders", 0].end
    assert watch.look(datetime.now(UTC)).fresh(0)
    send(kafka, "orders", 3)
    before = datetime.now(UTC)
    fresh = watch.look(before + timedelta(seconds=50))
    assert fresh.behind_events == 3
    assert 49 < fresh.behind_s < 60
    assert (fresh.applied_age_s, fresh.gap, fresh.waits_for) == (None, None, "")
    assert watch.waiting == {("orders", 0)}
    assert watch.look(before + timedelta(seconds=70)).behind_s > 69, "nobody reads: it grows"
    apply_up_to(engine, make, "orders", start + 1)
    assert watch.look(before + timedelta(seconds=50)).behind_events == 1
    apply_up_to(engine, make, "orders", start + 2)
    fresh = watch.look(T0 + timedelta(seconds=90))
    assert (fresh.behind_events, fresh.behind_s, fresh.applied_age_s) == (0, 0.0, 90.0)
    assert watch.waiting == set()


def test_where_the_broker_is_away_it_is_named_and_the_last_numbers_grow_older(
    engine: Engine, make: Make
) -> None:
    broker = MockKafka()
    asked = Watermarks(StreamsSettings(kafka=broker.address, kafka_mock=True))
    watch = Watch(engine, asked)
    send(broker, "series", 2)
    now = datetime.now(UTC)
    assert watch.look(now + timedelta(seconds=10)).waits_for == ""
    broker.stop()
    del broker
    fresh = watch.look(now + timedelta(seconds=500))
    assert (fresh.waits_for, fresh.behind_events) == ("kafka", 2)
    assert fresh.behind_s > 490
    asked.close()


def test_where_the_database_is_away_it_is_named(watermarks: Watermarks) -> None:
    nobody = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert Watch(nobody, watermarks).look(datetime.now(UTC)).waits_for == "database"


def test_a_gap_is_told_until_a_rebuild_is_announced(
    engine: Engine, watermarks: Watermarks, make: Make
) -> None:
    with engine.begin() as connection:
        positions.begin(connection, {("acts", 1): Extent(7, 9)}, {})
    watch = Watch(engine, watermarks)
    gap = watch.look(datetime.now(UTC)).gap
    assert gap is not None
    assert gap.lost == 7
    with engine.begin() as connection:
        positions.announce(connection, "anne", "new disk")
    assert watch.look(datetime.now(UTC)).gap is None


def test_a_stage_that_does_nothing_while_events_wait_stands_still() -> None:
    still = StandStill(60)
    assert still.look(0, 5, idle=False) == 0
    assert still.look(50, 5, idle=False) == 50
    assert still.look(60, 6, idle=False) == 0, "it moved"
    assert still.look(100, 6, idle=True) == 0, "nothing waits for it, or it waits for something"
    assert still.look(159, 6, idle=False) == 59
    assert still.look(161, 6, idle=False) == 61


def test_a_list_is_fresh_up_to_its_limit() -> None:
    assert Freshness(behind_events=9, behind_s=60).fresh(60)
    assert not Freshness(behind_events=1, behind_s=61).fresh(60)
