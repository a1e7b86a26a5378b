"""What is parked: read it, and send it again once its cause is mended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import Park, Reason, Unavailable
from streams.events import Parked, decode, encode
from streams.hl7 import mapping
from streams.hl7.door import ORIGIN
from streams.hl7.envelope import Context
from streams.hl7.message import parse
from streams.kafka.produce import Publisher, client_config
from streams.kafka.topics import ALL, ORDERS, PARKED
from streams.seal import KeyRing
from streams.settings import StreamsSettings
from streams.site import Site

_WAIT_S = 10.0


@dataclass(frozen=True)
class Entry:
    """One parked event and where it lies; `id` is ``partition-offset`` in the topic `parked`."""

    id: str
    parked: Parked

    def public(self) -> dict[str, object]:
        """What may be shown: everything but the sealed original (promise 8)."""
        return {
            "id": self.id,
            **self.parked.model_dump(mode="json", exclude={"original", "type", "schema_version"}),
        }


def entries(settings: StreamsSettings) -> Iterator[Entry]:
    """All that is parked now, oldest first within a partition.

    Raises:
        Unavailable: no broker answers.
    """
    own = {"group.id": "vigie-parked", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    consumer = Consumer(client_config(settings) | own)
    try:
        found = consumer.list_topics(PARKED.name, timeout=_WAIT_S).topics.get(PARKED.name)
        for partition in sorted(found.partitions) if found else ():
            low, high = consumer.get_watermark_offsets(
                TopicPartition(PARKED.name, partition), timeout=_WAIT_S
            )
            consumer.assign([TopicPartition(PARKED.name, partition, low)])
            yield from _read(consumer, partition, low, high)
    except KafkaException:
        raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None
    finally:
        consumer.close()


def _read(consumer: Consumer, partition: int, low: int, high: int) -> Iterator[Entry]:
    position = low
    while position < high:
        message = consumer.poll(_WAIT_S)
        if message is None or message.error():
            raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA")
        position = (message.offset() or 0) + 1
        try:
            event = decode(message.value() or b"")
        except Park:
            continue  # written by a later release: that release reads it
        if isinstance(event, Parked):
            yield Entry(f"{partition}-{message.offset()}", event)


def replay(entry: Entry, site: Site, ring: KeyRing, publisher: Publisher) -> None:
    """Sends one parked original again, with the time of its first receipt.

    Raises:
        VigieError: it cannot be opened, mapped or published; it stays parked in any case.
    """
    parked = entry.parked
    original = ring.open(parked.original)
    if parked.topic == ORIGIN:
        _replay_message(original, parked, site, ring, publisher)
        return
    if parked.topic not in {topic.name for topic in ALL}:
        raise Park(Reason.BAD_EVENT, "topic")
    try:
        key = base64.b64decode(parked.key, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Park(Reason.BAD_EVENT, "key") from None
    publisher.publish_sync(parked.topic, key, original)


def _replay_message(
    original: bytes, parked: Parked, site: Site, ring: KeyRing, publisher: Publisher
) -> None:
    header = parse(original).header
    sender = site.sender_for_hl7(header.application, header.facility)
    context = Context(site, sender, ring, parked.parked_at)
    for key, event in mapping.events(parse(original, sender.charset), context):
        publisher.publish_sync(ORDERS.name, key, encode(event))
