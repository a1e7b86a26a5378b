"""Writes what gateways said, and where the parked lie, each once: with how far was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.events import SenderSeen
from streams.kafka.parked import Entry
from streams.kafka.reading import Part
from streams.kafka.watermarks import Place
from worklist.sql.senders.heard import MEMORY, Counts, Heard

_NEXT = text("SELECT next FROM topic_read WHERE topic = :topic AND partition = :partition")
#: Nothing, where another process was sooner; else its row is locked, and others wait.
_GO_ON = text(
    """INSERT INTO topic_read AS r (topic, partition, next) VALUES (:topic, :partition, :next)
       ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next WHERE r.next = :before
       RETURNING next"""
)
_DOORS = text("SELECT * FROM sender_door WHERE sender = ANY(:senders)")
_WORDS = text("SELECT * FROM sender_word WHERE sender = ANY(:senders)")
_KEEP_DOORS = text(
    """INSERT INTO sender_door (sender, door, known_since, last_at, answers, refusals, not_imaging,
                                recent)
       SELECT sender, door, known_since, last_at, answers, refusals, not_imaging, recent
       FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(sender text, door text,
            known_since timestamptz, last_at timestamptz, answers jsonb, refusals jsonb,
            not_imaging jsonb, recent jsonb)
       ON CONFLICT (sender, door) DO UPDATE
       SET last_at = excluded.last_at, answers = excluded.answers, refusals = excluded.refusals,
           not_imaging = excluded.not_imaging, recent = excluded.recent"""
)
_KEEP_WORDS = text(
    """INSERT INTO sender_word (gateway, sender, door, since, at, answers, refusals, not_imaging)
       SELECT gateway, sender, door, since, at, answers, refusals, not_imaging
       FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(gateway text, sender text, door text,
            since timestamptz, at timestamptz, answers jsonb, refusals jsonb, not_imaging jsonb)
       ON CONFLICT (gateway, sender, door) DO UPDATE
       SET since = excluded.since, at = excluded.at, answers = excluded.answers,
           refusals = excluded.refusals, not_imaging = excluded.not_imaging"""
)
_KEEP_HOURS = text(
    """INSERT INTO sender_hour AS h (sender, door, hour, longest_s)
       SELECT sender, door, hour, max(longest_s)
       FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(sender text, door text, hour timestamptz,
            longest_s int)
       GROUP BY sender, door, hour
       ON CONFLICT (sender, door, hour) DO UPDATE
       SET longest_s = greatest(h.longest_s, excluded.longest_s)"""
)
_KEEP_PARKED = text(
    """INSERT INTO parked_entry (partition, "offset", sender, stage, topic, reason, field, attempts,
                                 parked_at)
       VALUES (:partition, :offset, :sender, :stage, :topic, :reason, :field, :attempts, :parked_at)
       ON CONFLICT DO NOTHING"""
)
_EXPIRE_PARKED = text(
    """DELETE FROM parked_entry WHERE partition = :partition AND ("offset" < :start OR :anew)"""
)
TRIMS = (
    text("DELETE FROM sender_hour WHERE hour < :oldest"),
    text("DELETE FROM sender_word WHERE at < :oldest"),  # a gateway that is no more
)


def position(connection: Connection, place: Place) -> int:
    """From where to read on."""
    return connection.scalar(_NEXT, {"topic": place[0], "partition": place[1]}) or 0


def go_on(connection: Connection, place: Place, before: int, part: Part) -> bool:
    """Notes how far was read; False: another process was sooner, and nothing is to be kept."""
    if part.next == before and not part.records:
        return False
    named = {"topic": place[0], "partition": place[1], "before": before, "next": part.next}
    return connection.scalar(_GO_ON, named) is not None


def keep_words(connection: Connection, words: Iterable[SenderSeen], now: datetime) -> None:
    """Adds up what the gateways said, in the order in which they did; nothing was later than `now`:
    a gateway's clock that runs ahead would keep its senders from ever being silent.
    """
    # a gateway of a release before says not at which door
    told = [_by_now(word, now) for word in words if word.door]
    senders = {"senders": sorted({word.sender for word in told})}
    doors = {(row.sender, row.door): _heard(row) for row in connection.execute(_DOORS, senders)}
    last = {
        (row.gateway, row.sender, row.door): Counts(
            row.since, row.answers, row.refusals, row.not_imaging
        )
        for row in connection.execute(_WORDS, senders)
    }
    spoke, hours = dict[tuple[str, str, str], SenderSeen](), []
    for word in told:
        named, place = (_process(word), word.sender, word.door), (word.sender, word.door)
        heard = doors.setdefault(place, Heard(word.since or word.at))
        for hour, longest in heard.hear(word, last.get(named)):
            hours.append({"sender": place[0], "door": place[1], "hour": hour, "longest_s": longest})
        spoke[named], last[named] = word, Counts.of(word)
    touched = sorted({(sender, door) for _, sender, door in spoke})
    _write(connection, _KEEP_DOORS, [_row(*place, doors[place]) for place in touched])
    fields = {"sender", "door", "since", "at", "answers", "refusals", "not_imaging"}
    said = [
        {"gateway": named[0], **word.model_dump(include=fields)}
        for named, word in sorted(spoke.items())
    ]
    _write(connection, _KEEP_WORDS, said)
    _write(connection, _KEEP_HOURS, hours)


def _by_now(word: SenderSeen, now: datetime) -> SenderSeen:
    late = [name for name in ("at", "last_at") if (getattr(word, name) or now) > now]
    return word.model_copy(update=dict.fromkeys(late, now)) if late else word


def _process(word: SenderSeen) -> str:
    """Which process said it: several may be called alike, and each counts by itself."""
    return f"{word.gateway} {word.since.isoformat()}" if word.since else word.gateway


def _write(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, {"rows": orjson.dumps(rows).decode()})


def _heard(row: Any) -> Heard:
    return Heard(
        row.known_since,
        row.last_at,
        Counter(row.answers),
        Counter(row.refusals),
        Counter(row.not_imaging),
        Counter(dict(row.recent)),
    )


def _row(sender: str, door: str, heard: Heard) -> dict[str, Any]:
    return {
        "sender": sender,
        "door": door,
        "known_since": heard.known_since,
        "last_at": heard.last_at,
        "answers": dict(heard.answers),
        "refusals": dict(heard.refusals),
        "not_imaging": dict(heard.not_imaging),
        "recent": sorted(heard.recent.items()),
    }


def keep_parked(
    connection: Connection, partition: int, part: Part, entries: Iterable[Entry]
) -> None:
    """Keeps where the parked lie and why; forgets what the topic no longer holds."""
    gone = {"partition": partition, "start": part.start, "anew": part.start < 0}
    connection.execute(_EXPIRE_PARKED, gone)
    rows = [
        {
            "partition": partition,
            "offset": int(entry.id.partition("-")[2]),
            "sender": entry.parked.sender,
            "stage": entry.parked.stage,
            "topic": entry.parked.topic,
            "reason": entry.parked.reason.value,
            "field": entry.parked.where,
            "attempts": entry.parked.attempts,
            "parked_at": entry.parked.parked_at,
        }
        for entry in entries
    ]
    if rows:
        connection.execute(_KEEP_PARKED, rows)


def trim(connection: Connection, now: datetime) -> None:
    """Forgets what is older than the memory of hours."""
    for statement in TRIMS:
        connection.execute(statement, {"oldest": now - MEMORY})
