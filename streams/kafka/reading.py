"""A topic read by position, for whoever keeps the position himself: no group, nothing committed."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import Reason, Unavailable
from streams.kafka.produce import SilentLogger, client_config
from streams.kafka.watermarks import Place
from streams.settings import StreamsSettings

_WAIT_S = 5.0
_AT_ONCE = 500


class Record(NamedTuple):
    """One record, and where it lies in its partition."""

    offset: int
    value: bytes


class Part(NamedTuple):
    """What was read of a partition.

    Attributes:
        start: offset of the log's first record; -1: the log ends before the position that was
            asked for, so it was made anew, and is read from its start.
        next: the position to go on from.
        more: there is more.
    """

    start: int
    records: list[Record]
    next: int
    more: bool


class TopicReader:
    """Reads partitions from a position on. Not for several threads at once."""

    def __init__(self, settings: StreamsSettings) -> None:
        own = {
            "group.id": "vigie-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,  # an answer to a question waits behind the fetch before it
        }
        self._consumer = Consumer(client_config(settings) | own, logger=SilentLogger())

    def partitions(self, topic: str) -> list[int]:
        """Those that the topic has; none, where there is no such topic. Raises Unavailable."""
        try:
            found = self._consumer.list_topics(topic, timeout=_WAIT_S).topics.get(topic)
        except KafkaException:
            raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None
        return sorted(found.partitions) if found else []

    def read(self, place: Place, position: int, most: int) -> Part:
        """At most `most` records from `position` on. Raises Unavailable."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), _WAIT_S)
            anew = position > high
            position = low if anew else max(position, low)
            self._consumer.assign([TopicPartition(*place, position)])
            records: list[Record] = []
            while position < high and len(records) < most:
                # `consume` waits until it has as many as it was asked for
                wanted = min(_AT_ONCE, high - position, most - len(records))
                messages = self._consumer.consume(wanted, _WAIT_S)
                if not messages:
                    raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA")
                for message in messages:
                    if message.error() is not None:
                        raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA")
                    offset = message.offset() or 0
                    position = offset + 1
                    records.append(Record(offset, message.value() or b""))
            return Part(-1 if anew else low, records, position, position < high)
        except KafkaException:
            raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None

    def close(self) -> None:
        """Gives the connection back."""
        self._consumer.close()
