"""What is parked, read from its topic; `streams.hl7.replay` sends it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from streams.errors import Park
from streams.events import Parked, decode
from streams.kafka.reading import Record, TopicReader
from streams.kafka.topics import PARKED
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
