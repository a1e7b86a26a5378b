"""What is parked: read it, and send it again once its cause is mended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from streams.errors import Park, Reason
from streams.events import Parked, decode, encode
from streams.hl7 import mapping
from streams.hl7.door import ORIGIN, PARKED_BYTES
from streams.hl7.envelope import Context
from streams.hl7.text.message import peek
from streams.identity.seal import KeyRing
from streams.kafka.produce import Publisher
from streams.kafka.reading import Record, TopicReader
from streams.kafka.topics import ALL, ORDERS, PARKED
from streams.senders.site import Site
from streams.settings import StreamsSettings

#: So many are held at once: each may have the megabyte that its sender sent.
AT_ONCE = 50


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
    with closing(TopicReader(settings)) as reader:
        for partition in reader.partitions(PARKED.name):
            position, more = 0, True
            while more:
                part = reader.read((PARKED.name, partition), position, AT_ONCE)
                position, more = part.next, part.more
                yield from filter(None, (entry_of(partition, record) for record in part.records))


def entry(settings: StreamsSettings, name: str) -> Entry | None:
    """What is parked under that id; None where nothing is. Raises Unavailable."""
    partition, _, offset = name.partition("-")
    if not (partition.isdecimal() and offset.isdecimal()):
        return None
    with closing(TopicReader(settings)) as reader:
        if int(partition) not in reader.partitions(PARKED.name):
            return None
        part = reader.read((PARKED.name, int(partition)), int(offset), 1)
        found = (entry_of(int(partition), record) for record in part.records)
        return next((one for one in found if one and one.id == name), None)


def entry_of(partition: int, record: Record) -> Entry | None:
    """A record of the topic as what is parked; None: a later release wrote it, and reads it."""
    try:
        event = decode(record.value)
    except Park:
        return None
    return Entry(f"{partition}-{record.offset}", event) if isinstance(event, Parked) else None


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
    if len(original) >= PARKED_BYTES:
        raise Park(Reason.TOO_LARGE, "original")
    header, proved = peek(original), False
    if parked.peer:
        # Whoever it was may be listed by now; who is not stays a stranger when an operator sends
        # what he said again.
        sender, proved = site.speaker(
            header.application, header.facility, parked.peer, parked.names
        )
    else:
        sender = site.sender_for_hl7(header.application, header.facility)
    context = Context(site, sender, ring, parked.parked_at, proved)
    for key, event in mapping.read(original, header, context):
        publisher.publish_sync(ORDERS.name, key, encode(event))
