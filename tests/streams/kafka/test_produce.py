"""An event counts as sent only when the broker confirmed it (promise 1), on the embedded broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from prometheus_client import REGISTRY
from pydantic import SecretStr

from infra.embedded import MockKafka, free_port
from streams.errors import Reason, Unavailable
from streams.kafka.produce import Publisher, client_config
from streams.settings import StreamsSettings


@pytest.fixture(scope="module")
def broker() -> Iterator[MockKafka]:
    kafka = MockKafka()
    yield kafka
    kafka.stop()


def count(metric: str, topic: str) -> float:
    return REGISTRY.get_sample_value(metric, {"topic": topic}) or 0.0


def settings(address: str, confirm_s: float = 10.0) -> StreamsSettings:
    return StreamsSettings(kafka=address, kafka_mock=True, confirm_s=confirm_s)


def stored(address: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "t"})
    consumer.assign(
        [
            TopicPartition(topic, p, OFFSET_BEGINNING)
            for p in consumer.list_topics(topic, timeout=5).topics[topic].partitions
        ]
    )
    found, quiet = [], 0
    while quiet < 30:  # 3 s: a busy machine fetches late
        message = consumer.poll(0.1)
        quiet = quiet + 1 if message is None else 0
        if message is not None and message.error() is None:
            found.append((message.key(), message.value()))
    consumer.close()
    return found


async def test_promise_1_what_was_published_is_there(broker: MockKafka) -> None:
    publisher = Publisher(settings(broker.address))
    before = count("vigie_published_total", "orders")
    await asyncio.gather(
        *(publisher.publish("orders", f"k{n}", f"v{n}".encode()) for n in range(50))
    )
    publisher.publish_sync("orders", "k50", b"v50")
    there = stored(broker.address, "orders")
    assert sorted(there) == sorted((f"k{n}".encode(), f"v{n}".encode()) for n in range(51))
    assert count("vigie_published_total", "orders") == before + 51
    assert publisher.reachable()
    publisher.close()


async def test_promise_1_one_key_keeps_its_order(broker: MockKafka) -> None:
    publisher = Publisher(settings(broker.address))
    await asyncio.gather(
        *(publisher.publish("series", "same", str(n).encode()) for n in range(100))
    )
    assert [value for _, value in stored(broker.address, "series")] == [
        str(n).encode() for n in range(100)
    ]
    publisher.close()


async def test_promise_1_without_a_broker_the_answer_is_no_and_in_time() -> None:
    publisher = Publisher(settings(f"127.0.0.1:{free_port()}", confirm_s=0.4))
    before = count("vigie_publish_failed_total", "orders")
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable) as error:
            await publisher.publish("orders", "k", b"v")
    assert error.value.reason is Reason.BROKER_DOWN
    with pytest.raises(Unavailable):
        await asyncio.to_thread(publisher.publish_sync, "orders", "k", b"v")
    assert count("vigie_publish_failed_total", "orders") == before + 2
    assert not publisher.reachable(0.2)
    publisher.close(0.1)


async def test_promise_1_an_event_that_is_too_large_is_no(broker: MockKafka) -> None:
    publisher = Publisher(settings(broker.address))
    with pytest.raises(Unavailable):
        await publisher.publish("orders", "k", bytes(9 * 1024 * 1024))
    publisher.close()


def test_many_threads_publish_through_one_publisher(broker: MockKafka) -> None:
    publisher = Publisher(settings(broker.address))
    threads = [
        threading.Thread(target=publisher.publish_sync, args=("findings", f"{n}", b"v"))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored(broker.address, "findings")) == 8
    publisher.close()


def test_a_secured_cluster_gets_its_credentials() -> None:
    config = client_config(
        StreamsSettings(
            kafka="k:9092",
            kafka_security="SASL_SSL",
            kafka_username="v",
            kafka_password=SecretStr("s"),
        )
    )
    assert (config["security.protocol"], config["sasl.mechanism"], config["sasl.password"]) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "s",
    )
    assert "sasl.username" not in client_config(StreamsSettings(kafka="k:9092"))


async def test_a_producer_with_a_fatal_error_is_replaced_and_publishing_goes_on(
    broker: MockKafka,
) -> None:
    """librdkafka says it by this callback; from then on such a producer refuses everything."""
    publisher = Publisher(settings(broker.address))
    before = REGISTRY.get_sample_value("vigie_producers_replaced_total") or 0.0
    first = publisher._producer
    publisher._on_error(KafkaError(KafkaError._TIMED_OUT, "a passing one"))
    await publisher.publish("orders", "k", b"before")
    assert publisher._producer is first
    publisher._on_error(KafkaError(KafkaError._FENCED, "fenced", fatal=True))
    async with asyncio.timeout(10):
        while publisher._producer is first:
            await asyncio.sleep(0.01)
    await publisher.publish("orders", "k", b"after")
    publisher.close()
    assert (REGISTRY.get_sample_value("vigie_producers_replaced_total") or 0) == before + 1


async def test_a_full_queue_is_waited_for_and_is_no_error(
    broker: MockKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**client_config(settings(broker.address)), "queue.buffering.max.messages": 10}
    monkeypatch.setattr("streams.kafka.produce.client_config", lambda _settings: small)
    publisher = Publisher(settings(broker.address))
    await asyncio.gather(
        *(publisher.publish("series", "full", str(n).encode()) for n in range(500))
    )
    there = [value for key, value in stored(broker.address, "series") if key == b"full"]
    assert there == [str(n).encode() for n in range(500)]
    publisher.close()


async def test_a_queue_that_stays_full_is_answered_no_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = settings(f"127.0.0.1:{free_port()}", confirm_s=0.5)
    small = {**client_config(nowhere), "queue.buffering.max.messages": 2}
    monkeypatch.setattr("streams.kafka.produce.client_config", lambda _settings: small)
    publisher = Publisher(nowhere)
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *(publisher.publish("orders", "k", b"v") for _ in range(20)), return_exceptions=True
        )
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    publisher.close(0.1)
