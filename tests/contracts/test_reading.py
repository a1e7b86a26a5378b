"""A topic read by positions that the reader keeps itself: alike on the mock and on Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from infra.embedded import MockKafka
from streams.kafka.produce import Publisher
from streams.kafka.reading import TopicReader
from streams.kafka.topics import PARKED
from streams.settings import StreamsSettings


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.needs("java", "mvn"))])
def settings(request: pytest.FixtureRequest) -> Iterator[StreamsSettings]:
    if request.param == "real":
        yield StreamsSettings(kafka=request.getfixturevalue("real_kafka").address)
        return
    broker = MockKafka()
    yield StreamsSettings(kafka=broker.address, kafka_mock=True)
    broker.stop()


def tell(settings: StreamsSettings, key: str, count: int) -> list[bytes]:
    told = [f"{key} {number}".encode() for number in range(count)]
    with closing(Publisher(settings)) as publisher:
        for value in told:
            publisher.publish_sync(PARKED.name, key, value)
    return told


def test_what_was_read_is_gone_on_from_in_parts_and_a_log_made_anew_is_read_from_its_start(
    settings: StreamsSettings,
) -> None:
    key = uuid.uuid4().hex
    told = tell(settings, key, 7)
    with closing(TopicReader(settings)) as reader:
        found: list[bytes] = []
        places = [(PARKED.name, partition) for partition in reader.partitions(PARKED.name)]
        for place in places:
            position, more = 0, True
            while more:
                part = reader.read(place, position, 3)
                position, more = part.next, part.more
                assert len(part.records) <= 3
                found += [one.value for one in part.records if one.value.startswith(key.encode())]
            again = reader.read(place, position, 3)
            assert (again.records, again.next, again.more) == ([], position, False)
            anew = reader.read(place, position + 1, 1)
            assert (anew.start, [one.offset for one in anew.records][:1]) in [(-1, [0]), (-1, [])]
        assert found == told
        assert reader.partitions(f"none-{key}") == []
        later = tell(settings, key, 1)
        ends = {place: reader.read(place, 0, 10**6) for place in places}
        assert later[0] in [one.value for part in ends.values() for one in part.records[-1:]]
