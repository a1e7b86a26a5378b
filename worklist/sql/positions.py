"""How far each partition was applied, in the batch's own transaction: a gap in offsets is seen."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from streams.events import Event
from streams.kafka.consume import Origin

_NOTE = text(
    """INSERT INTO log_position AS p (topic, partition, "offset", newest_received)
       VALUES (:topic, :partition, :last, :newest)
       ON CONFLICT (topic, partition) DO UPDATE
       SET "offset" = greatest(p."offset", excluded."offset"), applied_at = clock_timestamp(),
           newest_received = greatest(p.newest_received, excluded.newest_received)"""
)


def note_positions(
    connection: Connection, batch: Sequence[Origin], events: Sequence[Event]
) -> None:
    """Notes the newest offset and receipt of each partition of `batch`."""
    newest: dict[tuple[str, int], tuple[int, Event]] = {}
    for origin, event in zip(batch, events, strict=True):
        place = (origin.topic, origin.partition)
        old = newest.get(place)
        received = max((e for e in (old[1] if old else event, event)), key=lambda e: e.received_at)
        newest[place] = (max(origin.offset, old[0] if old else 0), received)
    connection.execute(
        _NOTE,
        [
            {
                "topic": topic,
                "partition": partition,
                "last": last,
                "newest": event.received_at,
            }
            for (topic, partition), (last, event) in sorted(newest.items())
        ],
    )
