"""How far each partition of the log was applied: reading begins there, and a gap is seen by it.

PostgreSQL is the truth, not what a consumer group committed: after a restored backup the events
since then are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import structlog
from sqlalchemy import Connection, text

from streams.errors import Reason, Stop
from streams.events import Event
from streams.kafka.consume import Origin
from streams.kafka.watermarks import Extent, Place
from worklist import metrics
from worklist.sql import audit

log = structlog.get_logger()

#: An announced rebuild covers the gaps of the day after it, and all before.
_ANNOUNCED = """EXISTS (SELECT FROM rebuild r WHERE r.at > p.gap_at - interval '1 day')"""

_NOTE = text(
    """WITH said AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
                     AS s(topic text, partition int, last bigint, newest timestamptz)),
            noted AS (INSERT INTO log_position AS p (topic, partition, "offset", newest_received)
                      SELECT topic, partition, last, newest FROM said ORDER BY topic, partition
                      ON CONFLICT (topic, partition) DO UPDATE
                      SET "offset" = greatest(p."offset", excluded."offset"),
                          applied_at = clock_timestamp(),
                          newest_received = greatest(p.newest_received, excluded.newest_received))
       SELECT p.topic, p.partition, p."offset"
       FROM log_position p JOIN said USING (topic, partition)"""
)
_LOSE = text(
    """UPDATE log_position SET lost = lost + :lost, gap_at = clock_timestamp()
       WHERE topic = :topic AND partition = :partition"""
)
_BEGIN = text(
    """INSERT INTO log_position AS p (topic, partition, "offset", topic_id, lost, gap_at)
       SELECT topic, partition, "offset", topic_id, lost,
              CASE WHEN gap THEN clock_timestamp() END
       FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(topic text, partition int,
            "offset" bigint, topic_id text, lost bigint, gap boolean)
       ORDER BY topic, partition
       ON CONFLICT (topic, partition) DO UPDATE
       SET "offset" = excluded."offset", topic_id = excluded.topic_id,
           lost = p.lost + excluded.lost, gap_at = COALESCE(excluded.gap_at, p.gap_at)"""
)
_READ = text(
    f"""SELECT topic, partition, "offset", topic_id, newest_received, lost,
               CASE WHEN NOT {_ANNOUNCED} THEN gap_at END AS gap_at
        FROM log_position p ORDER BY topic, partition"""
)


@dataclass(frozen=True)
class Position:
    """How far one partition was applied.

    Attributes:
        offset: of the newest applied event; -1: none yet.
        newest_received: when a door first received the newest applied event.
        lost: how many positions were ever passed over unread.
        gap_at: when that was last seen; None: never, or a rebuild was announced.
    """

    topic: str
    partition: int
    offset: int
    topic_id: str = ""
    newest_received: datetime | None = None
    lost: int = 0
    gap_at: datetime | None = None

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition


#: Where the log of a partition starts, and the offset of its first record from an offset on.
Look = Callable[[Place, int], tuple[int, int]]


def read(connection: Connection) -> list[Position]:
    """How far each partition was applied."""
    return [Position(**row._mapping) for row in connection.execute(_READ)]


def note_positions(
    connection: Connection, batch: Sequence[Origin], events: Sequence[Event | None], look: Look
) -> None:
    """Notes the newest offset and receipt of each partition of `batch`, an event parked as None.

    Offsets that nobody read are looked into: what expired is a gap, and noted; the marks of
    transactions hold nothing.

    Raises:
        Stop: records lie between that are still there: reading begins anew at what was applied.
        Unavailable: the broker does not answer.
    """
    firsts: dict[Place, int] = {}
    newest: dict[Place, tuple[int, datetime | None]] = {}
    for origin, event in zip(batch, events, strict=True):
        place = (origin.topic, origin.partition)
        firsts[place] = min(origin.offset, firsts.get(place, origin.offset))
        last, received = newest.get(place, (origin.offset, None))
        if event is not None:
            received = max(event.received_at, received or event.received_at)
        newest[place] = (max(origin.offset, last), received)
    rows = [
        {"topic": place[0], "partition": place[1], "last": last, "newest": received}
        for place, (last, received) in newest.items()
    ]
    before = {
        (row.topic, row.partition): row.offset
        for row in connection.execute(_NOTE, {"rows": orjson.dumps(rows).decode()})
    }
    for place, first in firsts.items():
        wanted = before.get(place, -1) + 1
        if first > wanted:
            _look_between(connection, place, wanted, first, look)


def _look_between(
    connection: Connection, place: Place, wanted: int, first: int, look: Look
) -> None:
    start, there = look(place, wanted)
    if start > wanted:
        lost = min(start, first) - wanted
        connection.execute(_LOSE, {"topic": place[0], "partition": place[1], "lost": lost})
        _tell(place, "expired", lost)
    elif there < first:
        log.error("reads_again", topic=place[0], partition=place[1], since=wanted, first=first)
        raise Stop(Reason.UNEXPECTED, "log_position")


def begin(
    connection: Connection,
    extents: Mapping[Place, Extent],
    ids: Mapping[str, str],
    *,
    expected: bool = False,
) -> dict[Place, int]:
    """Where reading goes on, of each partition; notes what is lost for good.

    Args:
        ids: the broker's ids of the topics, where it has some.
        expected: the broker forgets (the mock): nothing that it lost is an alarm.
    """
    known = {position.place: position for position in read(connection)}
    rows, begins = [], {}
    for place, extent in sorted(extents.items()):
        position = known.get(place, Position(*place, -1))
        wanted = position.offset + 1
        topic_id = ids.get(place[0], position.topic_id)
        anew = bool(position.topic_id) and topic_id != position.topic_id
        kind, lost = "", 0
        if anew or extent.end < wanted:
            kind = "anew"
        elif extent.start > wanted:
            kind, lost = "expired", extent.start - wanted
        begins[place] = extent.start if kind else wanted
        gap = bool(kind) and not expected
        if gap:
            _tell(place, kind, lost)
        if kind or place not in known or topic_id != position.topic_id:
            rows.append(
                {
                    "topic": place[0],
                    "partition": place[1],
                    "offset": begins[place] - 1,
                    "topic_id": topic_id,
                    "lost": lost,
                    "gap": gap,
                }
            )
    connection.execute(_BEGIN, {"rows": orjson.dumps(rows).decode()})
    return begins


def _tell(place: Place, kind: str, lost: int) -> None:
    log.error("gap", topic=place[0], partition=place[1], kind=kind, lost=lost)
    metrics.gaps.labels(kind).inc()
    metrics.lost.inc(lost)


def announce(connection: Connection, actor: str, reason: str) -> None:
    """Says that the topics are rebuilt: gaps until now, and of the next day, are no alarm."""
    connection.execute(
        text("INSERT INTO rebuild (actor, reason) VALUES (:actor, :reason)"),
        {"actor": actor, "reason": reason},
    )
    audit.append(connection, "rebuild_announced", "", actor=actor, reason=reason, detail={})
