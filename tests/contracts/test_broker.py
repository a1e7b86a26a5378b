"""One suite for both brokers: what Vigie relies on holds on the mock as on Apache Kafka; what only
the real one can show, there.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from infra.embedded import MockKafka
from infra.kafka import Kafka
from streams.errors import Reason, Unavailable
from streams.kafka.faust_app import make_app
from streams.kafka.produce import Publisher
from streams.kafka.topics import ALL, ORDERS
from streams.settings import StreamsSettings


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    broker = MockKafka()
    yield broker.address
    broker.stop()


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.needs("java", "mvn"))])
def address(request: pytest.FixtureRequest) -> str:
    if request.param == "mock":
        return str(request.getfixturevalue("mock"))
    return str(request.getfixturevalue("real_kafka").address)


def settings(address: str, confirm_s: float = 10.0) -> StreamsSettings:
    return StreamsSettings(kafka=address, confirm_s=confirm_s)


def producer(address: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": address,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            "log_level": 0,
        }
    )


def send(one: Producer, values: list[tuple[str, bytes]]) -> list[tuple[KafkaError | None, Message]]:
    answers: list[tuple[KafkaError | None, Message]] = []
    for key, value in values:
        one.produce(
            ORDERS.name,
            key=key,
            value=value,
            on_delivery=lambda error, message: answers.append((error, message)),
        )
    one.flush(20)
    return answers


def read(
    address: str, tag: str, count: int, timeout_s: float = 20.0
) -> list[tuple[str, bytes, int, int]]:
    """Key, value, partition and offset of the `count` messages of `orders` whose key begins with
    `tag`, in the order they came.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(ORDERS.name, number, 0) for number in range(ORDERS.partitions)])
    found: list[tuple[str, bytes, int, int]] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and len(found) < count:
        for message in consumer.consume(500, 0.2):
            if message.error() is None and (key := (message.key() or b"").decode()).startswith(tag):
                found.append((key, message.value() or b"", message.partition(), message.offset()))
    consumer.close()
    return found


def test_a_positive_answer_names_partition_and_offset(address: str) -> None:
    ((error, message),) = send(producer(address), [(uuid.uuid4().hex, b"x")])
    assert error is None
    assert 0 <= message.partition() < ORDERS.partitions
    assert message.offset() >= 0


def test_each_key_stays_in_one_partition_in_order(address: str) -> None:
    tag = uuid.uuid4().hex
    sent = [(f"{tag}-{number % 7}", str(number).encode()) for number in range(300)]
    answers = send(producer(address), sent)
    assert not any(error for error, _ in answers)
    found = read(address, tag, len(sent))
    assert len(found) == len(sent)
    for key in {key for key, _ in sent}:
        mine = [row for row in found if row[0] == key]
        assert len({partition for _, _, partition, _ in mine}) == 1
        assert [value for _, value, _, _ in mine] == [
            value for other, value in sent if other == key
        ]
        assert [offset for *_, offset in mine] == sorted(offset for *_, offset in mine)


def test_an_idempotent_producer_doubles_nothing(address: str) -> None:
    tag = uuid.uuid4().hex
    one = producer(address)
    for _ in range(5):
        send(one, [(f"{tag}-{number}", b"x") for number in range(50)])
    found = read(address, tag, 251, timeout_s=4)
    assert len(found) == 250
    assert len({(partition, offset) for _, _, partition, offset in found}) == 250


def test_topics_have_the_partitions_that_the_code_says(address: str) -> None:
    topics = producer(address).list_topics(timeout=10).topics
    found = {topic.name: len(topics[topic.name].partitions) for topic in ALL}
    wanted = {topic.name: topic.partitions for topic in ALL}
    # The mock gives every topic as many as `orders` has; one more of `parked` harms nothing.
    assert found == wanted or found == dict.fromkeys(wanted, ORDERS.partitions)
    assert found["orders"] == found["series"], "Faust co-partitions only equals"


async def test_the_publisher_returns_once_the_broker_has_the_event(address: str) -> None:
    tag = uuid.uuid4().hex
    publisher = Publisher(settings(address))
    await publisher.publish(ORDERS.name, f"{tag}-a", b"async")
    publisher.publish_sync(ORDERS.name, f"{tag}-b", b"sync")
    publisher.close()
    assert {value for _, value, _, _ in read(address, tag, 2)} == {b"async", b"sync"}


async def test_what_no_group_has_committed_is_read_again_after_a_rebalance(
    address: str, tmp_path: Path
) -> None:
    """Each rebalance of Faust ends with `perform_seek`; the first event of a partition has no
    committed offset to go back to.
    """
    tag = uuid.uuid4().hex
    app = make_app(f"again-{tag}", StreamsSettings(kafka=address, state=tmp_path))
    seen: list[bytes] = []

    @app.agent(app.topic(ORDERS.name, key_type=bytes, value_type=bytes), name="again")
    async def take(stream: Any) -> AsyncIterator[None]:
        async for event in stream.noack().events():
            seen.append(event.key)
            yield None

    async def until_seen() -> None:
        async with asyncio.timeout(30):
            while tag.encode() not in seen:
                await asyncio.sleep(0.05)

    publisher = Publisher(settings(address))
    await publisher.publish(ORDERS.name, tag, b"x")
    app.finalize()
    await app.start()
    try:
        await until_seen()
        seen.clear()
        await app.consumer.perform_seek()
        await until_seen()
    finally:
        await app.stop()
        publisher.close()


async def test_a_group_that_committed_beyond_the_log_reads_it_from_its_start(
    address: str, tmp_path: Path
) -> None:
    """As after a topic was made anew: Kafka would wait until the new log is as long."""
    tag = uuid.uuid4().hex
    publisher = Publisher(settings(address))
    await publisher.publish(ORDERS.name, tag, b"x")
    group = Consumer({"bootstrap.servers": address, "group.id": f"beyond-{tag}", "log_level": 0})
    beyond = [TopicPartition(ORDERS.name, number, 10**6) for number in range(ORDERS.partitions)]
    group.commit(offsets=beyond, asynchronous=False)
    group.close()
    app = make_app(f"beyond-{tag}", StreamsSettings(kafka=address, state=tmp_path))
    seen: list[bytes] = []

    @app.agent(app.topic(ORDERS.name, key_type=bytes, value_type=bytes), name="beyond")
    async def take(stream: Any) -> AsyncIterator[None]:
        async for event in stream.noack().events():
            seen.append(event.key)
            yield None

    app.finalize()
    await app.start()
    try:
        async with asyncio.timeout(30):
            while tag.encode() not in seen:
                await asyncio.sleep(0.05)
    finally:
        await app.stop()
        publisher.close()


def test_no_broker_is_no_answer() -> None:
    publisher = Publisher(settings("127.0.0.1:1", confirm_s=0.5))
    assert not publisher.reachable(0.2)
    with pytest.raises(Unavailable) as raised:
        publisher.publish_sync(ORDERS.name, "k", b"x")
    assert raised.value.reason is Reason.BROKER_DOWN
    publisher.close(0.2)


def test_what_was_confirmed_outlives_kill_9(real_kafka: Kafka) -> None:
    tag = uuid.uuid4().hex
    answers = send(
        producer(real_kafka.address), [(f"{tag}-{number}", b"x") for number in range(500)]
    )
    assert sum(error is None for error, _ in answers) == 500
    real_kafka.kill()
    real_kafka.start()
    assert len({key for key, *_ in read(real_kafka.address, tag, 500)}) == 500


async def test_what_was_acknowledged_is_not_read_again_when_another_joins(
    real_kafka: Kafka, tmp_path: Path
) -> None:
    """The mock refuses commits once a rebalance has begun."""
    tag = uuid.uuid4().hex
    seen: list[bytes] = []

    def member() -> Any:
        app = make_app(f"joined-{tag}", StreamsSettings(kafka=real_kafka.address, state=tmp_path))
        app.conf.broker_commit_interval = 600.0

        @app.agent(app.topic(ORDERS.name, key_type=bytes, value_type=bytes), name="joined")
        async def take(stream: Any) -> AsyncIterator[None]:
            async for event in stream.noack().events():
                seen.append(event.key)
                event.ack()
                yield None

        app.finalize()
        return app

    async def until_seen(name: str) -> set[bytes]:
        keys = [f"{tag}-{name}-{number}" for number in range(200)]
        send(producer(real_kafka.address), [(key, b"x") for key in keys])
        sent = {key.encode() for key in keys}
        async with asyncio.timeout(30):
            while not sent <= set(seen):
                await asyncio.sleep(0.05)
        return sent

    first, second = member(), member()
    await first.start()
    try:
        before = await until_seen("before")
        await second.start()
        async with asyncio.timeout(30):
            while not (first.consumer.assignment() and second.consumer.assignment()):
                await asyncio.sleep(0.05)
        await until_seen("after")
    finally:
        await second.stop()
        await first.stop()
    assert [key for key in before if seen.count(key) > 1] == []


def test_a_publisher_confirms_nothing_while_the_broker_is_down_and_recovers(
    real_kafka: Kafka,
) -> None:
    tag = uuid.uuid4().hex
    publisher = Publisher(settings(real_kafka.address, confirm_s=2))
    publisher.publish_sync(ORDERS.name, f"{tag}-before", b"x")
    real_kafka.kill()
    try:
        for number in range(3):
            with pytest.raises(Unavailable):
                publisher.publish_sync(ORDERS.name, f"{tag}-during-{number}", b"x")
    finally:
        real_kafka.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            publisher.publish_sync(ORDERS.name, f"{tag}-after", b"x")
            break
        except Unavailable:
            assert time.monotonic() < deadline, "no recovery"
    publisher.close()
    keys = [key for key, *_ in read(real_kafka.address, tag, 10, timeout_s=4)]
    assert keys.count(f"{tag}-before") == 1
    assert f"{tag}-after" in keys


def test_every_positive_answer_during_a_kill_is_kept(real_kafka: Kafka) -> None:
    tag = uuid.uuid4().hex
    publisher = Publisher(settings(real_kafka.address, confirm_s=3))
    confirmed: set[str] = set()
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                publisher.publish_sync(ORDERS.name, f"{tag}-{number}", b"x")
            except Unavailable:
                continue
            confirmed.add(f"{tag}-{number}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        grows(confirmed, 50)
        real_kafka.kill()
        real_kafka.start()
        grows(confirmed, len(confirmed) + 50)
    finally:
        ended.set()
        thread.join()
        publisher.close()
    assert confirmed <= {key for key, *_ in read(real_kafka.address, tag, 10**6, timeout_s=5)}


def grows(confirmed: set[str], size: int, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while len(confirmed) < size:
        assert time.monotonic() < deadline, "no positive answers"
        time.sleep(0.05)
