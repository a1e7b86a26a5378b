"""The relay: what persons did reaches the topic at least once, in order per row, by one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from sqlalchemy import Engine, text

from infra.embedded import MockKafka
from streams.errors import Reason, Unavailable
from streams.events import Event, decode
from streams.kafka.produce import Publisher
from streams.kafka.topics import ACTS
from streams.settings import StreamsSettings
from tests.worklist.conftest import Feed, Make, empty
from worklist.order.policy import Policy
from worklist.sql import acts, queue
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener
from worklist.writeback.relay import Relay


def read_acts(settings: StreamsSettings) -> list[Event]:
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "t", "log_level": 0})
    consumer.assign(
        [TopicPartition(ACTS.name, n, OFFSET_BEGINNING) for n in range(ACTS.partitions)]
    )
    found: list[Event] = []
    for _ in range(100):
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(decode(message.value() or b""))
            break
    consumer.close()
    return found


def shape(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("study", "accession", "study_uid", "lane", "due_at", "state")}


class Topic:
    """A topic that refuses once `takes` records are in."""

    def __init__(self, takes: int = 10**6) -> None:
        self.takes = takes
        self.records: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        assert topic == ACTS.name
        if len(self.records) >= self.takes:
            raise Unavailable(Reason.BROKER_DOWN)
        self.records.append((key, value))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(key, value.decode()) for key, value in self.records]


def put(engine: Engine, *items: str, kind: str = "act") -> None:
    with engine.begin() as connection:
        for number, item in enumerate(items):
            connection.execute(
                text("""INSERT INTO outbox (item, kind, body)
                        VALUES (:item, :kind, to_jsonb(CAST(:n AS int)))"""),
                {"item": item, "kind": kind, "n": number},
            )


def unsent(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM outbox WHERE sent_at IS NULL")) or 0


@pytest.fixture
def relay(engine: Engine) -> Iterator[tuple[Relay, Topic]]:
    topic = Topic()
    one = Relay(engine, topic.publish)
    yield one, topic
    one.close()


async def test_acts_are_sent_in_order_once_and_nothing_else_is(
    engine: Engine, relay: tuple[Relay, Topic]
) -> None:
    one, topic = relay
    put(engine, "flag", kind="flagged")
    put(engine, "a", "b", "a")
    assert await one.round() == 3
    assert topic.told == [("a", "0"), ("b", "1"), ("a", "2")]
    assert await one.round() == 0
    assert unsent(engine) == 1


async def test_a_broker_that_goes_away_in_between_gets_the_rest_later(
    engine: Engine, relay: tuple[Relay, Topic]
) -> None:
    one, topic = relay
    topic.takes = 2
    put(engine, "a", "a", "a")
    with pytest.raises(Unavailable):
        await one.round()
    assert unsent(engine) == 1
    topic.takes = 10
    assert await one.round() == 1
    assert topic.told == [("a", "0"), ("a", "1"), ("a", "2")]


async def test_an_act_waits_for_a_transaction_that_began_before_it(
    engine: Engine, relay: tuple[Relay, Topic]
) -> None:
    one, topic = relay
    with engine.connect() as slow:
        slow.execute(text("SELECT pg_current_xact_id()"))
        put(engine, "a")
        assert await one.round() == 0
        slow.execute(text("INSERT INTO outbox (item, kind, body) VALUES ('a', 'act', '9')"))
        slow.commit()
    assert await one.round() == 2
    assert sorted(topic.told) == [("a", "0"), ("a", "9")]


async def test_of_two_processes_one_sends_and_the_other_takes_over(engine: Engine) -> None:
    first, second = Topic(), Topic()
    one, other = Relay(engine, first.publish), Relay(engine, second.publish)
    put(engine, "a")
    assert await one.round() == 1
    put(engine, "b", "b")
    assert await other.round() == 0
    one.close()
    for _ in range(50):  # the server notices a moment later that the session has ended
        if await other.round():
            break
        await asyncio.sleep(0.05)
    other.close()
    assert (len(first.told), len(second.told)) == (1, 2)


async def test_an_act_that_is_too_large_stays_and_the_next_goes(
    engine: Engine, relay: tuple[Relay, Topic]
) -> None:
    one, topic = relay
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO outbox (item, kind, body)
                    VALUES ('big', 'act', to_jsonb(repeat('x', 2000000)))""")
        )
    put(engine, "a")
    assert await one.round() == 1
    assert await one.round() == 0
    assert (topic.told, unsent(engine)) == ([("a", "0")], 1)


async def test_backup_and_topics_give_back_what_persons_did(
    engine: Engine, policy: Policy, opener: Opener, make: Make, feed: Feed
) -> None:
    """Through the broker: the same events and the topic's acts, into an empty database."""
    broker = MockKafka()
    settings = StreamsSettings(kafka=broker.address, kafka_mock=True)
    publisher = Publisher(settings)
    events = [make.order("A1"), make.series(accession="A1"), make.order("A2", patient="P2")]
    feed(*events)
    try:
        with engine.begin() as connection:
            (study,) = (r["study"] for r in queue.listing(connection).items if r["study_uid"])
            wish = acts.Wish(act="pin", study=study, actor="anne", role="lead", reason="phoned")
            acts.do(connection, wish, policy=policy, opener=opener)
        with engine.begin() as connection:
            before = queue.listing(connection).items
        relay = Relay(engine, publisher.publish)
        assert await relay.round() == 1
        relay.close()
        told = read_acts(settings)
        empty(engine, policy)
        with engine.begin() as connection:
            apply(connection, [*told, *events], policy=policy, opener=opener)
        with engine.begin() as connection:
            after = queue.listing(connection).items
    finally:
        publisher.close()
        broker.stop()
    assert [shape(row) for row in after] == [shape(row) for row in before]
    assert before[0]["lane"] == 0
