"""What the log of each partition holds now: where it starts and ends, and its oldest record from an
offset on. Asked beside the stage that reads it, so that a stage that stands still is seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from streams.errors import Reason, Unavailable
from streams.kafka.produce import SilentLogger, client_config
from streams.settings import StreamsSettings

#: A partition: topic and number.
Place = tuple[str, int]

_ASK_S = 5.0
_READ_S = 3.0


@dataclass(frozen=True)
class Extent:
    """Offsets of the log's first record and of the next that will be written."""

    start: int
    end: int


@dataclass(frozen=True)
class Record:
    """A record that is there: its offset, and when it was written."""

    offset: int
    written_at: datetime | None


class Watermarks:
    """Questions to the broker; a member of no group. Threads may share it.

    What an aborted transaction wrote does not count, as no stage of ours reads it.
    """

    def __init__(self, settings: StreamsSettings) -> None:
        self._mock = settings.kafka_mock
        config = client_config(settings)
        self._admin = AdminClient(config, logger=SilentLogger())
        self._consumer = Consumer(
            config
            | {
                "group.id": "vigie-watermarks",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                # the mock knows no transactions
                "isolation.level": "read_uncommitted" if self._mock else "read_committed",
                # one record is enough; the broker sends at least that
                "fetch.message.max.bytes": 1024,
                "queued.min.messages": 1,
                "fetch.wait.max.ms": 50,
            },
            logger=SilentLogger(),
        )
        self._lock = Lock()

    def extents(self, topics: Iterable[str]) -> dict[Place, Extent]:
        """The log of each partition of `topics` that is there. Raises Unavailable `kafka`."""
        wanted = set(topics)
        with self._lock:
            try:
                known = self._consumer.list_topics(timeout=_ASK_S).topics
            except KafkaException:
                raise Unavailable(Reason.BROKER_DOWN, "kafka") from None
            places = [
                (name, number)
                for name, topic in known.items()
                if name in wanted and topic.error is None
                for number in topic.partitions
            ]
            found = {}
            for place in places:
                try:
                    start, end = self._consumer.get_watermark_offsets(
                        TopicPartition(*place), timeout=_READ_S
                    )
                except KafkaException:  # it has no leader now, or is just being made
                    continue
                found[place] = Extent(start, end)
        if places and not found:
            raise Unavailable(Reason.BROKER_DOWN, "kafka")
        return found

    def ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The broker's own id of each topic: another once it is made anew. The mock has none."""
        if self._mock:
            return {}
        asked = self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=_ASK_S)
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = str(answer.result(_ASK_S).topic_id)
            except (KafkaException, TimeoutError):
                continue
        return found

    def oldest(self, since: Mapping[Place, int]) -> dict[Place, Record | None]:
        """The first record of each partition at or after an offset; None: there is none. What the
        broker did not answer in time is left out.
        """
        found: dict[Place, Record | None] = {}
        deadline = time.monotonic() + _READ_S
        with self._lock:
            try:
                self._consumer.assign(
                    [TopicPartition(*place, offset) for place, offset in since.items()]
                )
                while len(found) < len(since) and time.monotonic() < deadline:
                    for message in self._consumer.consume(len(since), 0.1):
                        place = (message.topic() or "", message.partition() or 0)
                        error = message.error()
                        if error is None:
                            found.setdefault(place, _record(message.offset(), message.timestamp()))
                        elif error.code() == KafkaError._PARTITION_EOF:
                            found.setdefault(place, None)
                self._consumer.unassign()
            except KafkaException:
                raise Unavailable(Reason.BROKER_DOWN, "kafka") from None
        return found

    def between(self, place: Place, wanted: int) -> tuple[int, int]:
        """Where the log of `place` starts, and the offset of its first record from `wanted` on (its
        end, if there is none). Raises Unavailable `kafka`.
        """
        extent = self.extents([place[0]]).get(place)
        found = self.oldest({place: wanted})
        if extent is None or place not in found:
            raise Unavailable(Reason.BROKER_DOWN, "kafka")
        record = found[place]
        return extent.start, extent.end if record is None else record.offset

    def close(self) -> None:
        """Lets the connections go."""
        with self._lock:
            self._consumer.close()


def _record(offset: int | None, stamp: tuple[int, int]) -> Record:
    kind, milliseconds = stamp
    known = kind != TIMESTAMP_NOT_AVAILABLE
    at = datetime.fromtimestamp(milliseconds / 1000, UTC) if known else None
    return Record(offset or 0, at)
