"""For how long a sender may be silent: longer than it usually is at that hour of such a day.

Taught by the silences that ended in the last eight weeks: one that lasts teaches nothing, so that a
sender that is off does not become usual. Of the hours alike nine tenths count, so that a few
outages do not either.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from streams.senders.site import Sender
from worklist.sql.senders.heard import MEMORY

_HISTORY = timedelta(weeks=2)
#: Silent for half as long again as usual; a few minutes are never an alarm.
_TIMES, _LEAST_S = 1.5, 600
_USUAL = text(
    """SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY longest_s) FROM sender_hour
       WHERE sender = :sender AND door = :door AND hour = ANY(:alike)
       AND EXISTS (SELECT FROM sender_hour WHERE sender = :sender AND door = :door
                   AND hour BETWEEN :oldest AND :old)"""
)
_JUDGE = text(
    "UPDATE sender_door SET silent_after_s = :limit WHERE sender = :sender AND door = :door"
)
_FORGET = text(
    """UPDATE sender_door SET silent_after_s = NULL
       WHERE silent_after_s IS NOT NULL AND NOT (sender || ' ' || door = ANY(:listed))"""
)


def judge(connection: Connection, senders: Iterable[Sender], now: datetime) -> None:
    """Sets for each listed sender, at each of its doors, how long it may be silent in this hour."""
    listed = []
    for sender in senders:
        alike = hours_alike(now, ZoneInfo(sender.timezone))
        for door in sender.doors:
            listed.append(f"{sender.name} {door}")
            named = {"sender": sender.name, "door": door}
            span = {"oldest": now - MEMORY, "old": now - _HISTORY}
            usual = connection.scalar(_USUAL, named | span | {"alike": alike})
            limit = sender.silent_after_h * 3600 if usual is None else max(usual * _TIMES, _LEAST_S)
            connection.execute(_JUDGE, named | {"limit": int(limit)})
    connection.execute(_FORGET, {"listed": listed})


def hours_alike(now: datetime, zone: ZoneInfo) -> list[datetime]:
    """The beginnings (UTC) of past hours of the memory that are of the same hour, by the sender's
    clock, of the same kind of day: a working day, a Saturday, a Sunday.
    """
    here = now.astimezone(zone)
    wanted = _kind(here)
    day = here.replace(minute=0, second=0, microsecond=0)
    found = []
    for back in range(1, MEMORY.days + 1):
        past = day - timedelta(days=back)  # by the clock on the wall
        if _kind(past) == wanted:
            found.append(past.astimezone(UTC).replace(minute=0))
    return found


def _kind(day: datetime) -> int:
    return max(day.weekday(), 4)
