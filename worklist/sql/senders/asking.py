"""What is known of the senders: one view for HL7, DICOM and HTTP, by API, command and alarm."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from worklist.sql.senders.heard import Heard

_DOORS = text("SELECT * FROM sender_door ORDER BY sender, door")
_EACH = 20
_ENTRY = """partition || '-' || "offset" AS id, sender, stage, topic, reason, field AS "where",
            attempts, parked_at"""
_OF_EACH = text(
    f"""SELECT p.* FROM sender_door s, LATERAL (
            SELECT {_ENTRY} FROM parked_entry p
            WHERE p.sender = s.sender AND p.topic = s.door
            ORDER BY parked_at DESC LIMIT :n) p
        ORDER BY p.sender, p.topic, p.parked_at DESC"""
)
_PARKED = text(
    f"""SELECT {_ENTRY} FROM parked_entry
        WHERE (:sender = '' OR sender = :sender) AND (:reason = '' OR reason = :reason)
        ORDER BY parked_at DESC, partition, "offset" DESC LIMIT :n"""
)


@dataclass(frozen=True)
class ParkedView:
    """Something parked: its id, whose it is where a door knew, why, and which field."""

    id: str
    sender: str
    stage: str
    topic: str
    reason: str
    where: str
    attempts: int
    parked_at: datetime


@dataclass(frozen=True)
class SenderView:
    """A sender at one door, over all gateways since it was first told of.

    Attributes:
        per_minute: messages or objects, over the last ten minutes.
        parked: the newest of what was refused and kept.
        silent: nothing was heard for longer than `silent_after_s`; never of whom the site does not
            list.
    """

    sender: str
    door: str
    known_since: datetime
    last_at: datetime | None
    per_minute: float
    answers: dict[str, int]
    refusals: dict[str, int]
    not_imaging: dict[str, int]
    parked: tuple[ParkedView, ...]
    silent_after_s: int | None
    silent: bool

    @property
    def heard_at(self) -> datetime:
        """When it was last heard; before that, since when it is listened for."""
        return self.last_at or self.known_since

    def public(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return asdict(self)


def senders(connection: Connection, now: datetime) -> list[SenderView]:
    """Each sender at each of its doors."""
    parked: dict[tuple[str, str], list[ParkedView]] = defaultdict(list)
    for row in connection.execute(_OF_EACH, {"n": _EACH}):
        parked[row.sender, row.topic].append(ParkedView(**row._mapping))
    return [
        _view(row, tuple(parked[row.sender, row.door]), now) for row in connection.execute(_DOORS)
    ]


def _view(row: Any, parked: tuple[ParkedView, ...], now: datetime) -> SenderView:
    heard = Heard(row.known_since, recent=Counter(dict(row.recent)))
    silent_s = (now - (row.last_at or row.known_since)).total_seconds()
    return SenderView(
        sender=row.sender,
        door=row.door,
        known_since=row.known_since,
        last_at=row.last_at,
        per_minute=round(heard.per_minute(now), 2),
        answers=row.answers,
        refusals=row.refusals,
        not_imaging=row.not_imaging,
        parked=parked,
        silent_after_s=row.silent_after_s,
        silent=row.silent_after_s is not None and silent_s > row.silent_after_s,
    )


def parked(
    connection: Connection, *, sender: str = "", reason: str = "", most: int = 100
) -> list[ParkedView]:
    """What is parked, the newest first."""
    named = {"sender": sender, "reason": reason, "n": most}
    return [ParkedView(**row._mapping) for row in connection.execute(_PARKED, named)]
