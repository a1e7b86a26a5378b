"""Time stamps (HL7 v2.5.1 §2.A.77, ``YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±ZZZZ]``), in UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_TIME = re.compile(
    r"(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(?:(\d\d)(\d\d)?(\.\d{1,9})?)?)?([+-])?(\d\d)?(\d\d)?"
)


def when(text: str, zone: str) -> datetime | None:
    """The earliest moment that a time stamp may mean; None when it is none.

    Args:
        zone: IANA name of the sender's zone, for stamps without offset.
    """
    found = interval(text, zone)
    return found[0] if found else None


# One message says the same moment several times, and what comes together is of the same seconds.
@lru_cache(maxsize=1024)
def interval(text: str, zone: str) -> tuple[datetime, datetime] | None:
    """The first and the last moment that a time stamp may mean; equal from seconds on."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    parts, (fraction, sign, hours, minutes) = match.groups()[:6], match.groups()[6:]
    place: tzinfo = ZoneInfo(zone)
    try:
        if sign and hours:
            offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
            place = timezone(offset if sign == "+" else -offset)
        year, month, day = int(parts[0]), int(parts[1] or 1), int(parts[2] or 1)
        if not 1900 < year < 2199:  # no event can hold it (`streams.events.Instant`)
            return None
        hour, minute, second = (int(part or 0) for part in parts[3:])
        micro = int((fraction or ".")[1:7].ljust(6, "0"))
        start = datetime(year, month, day, hour, minute, min(second, 59), micro, tzinfo=place)
        first = start.astimezone(UTC)
        return first, first if parts[5] else _last(start, parts).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _last(start: datetime, parts: Sequence[str | None]) -> datetime:
    """The last moment of the year, month, day, hour or minute that `start` begins."""
    if parts[3]:
        whole = timedelta(minutes=1) if parts[4] else timedelta(hours=1)
        return start + whole - timedelta(microseconds=1)
    if parts[2]:
        after = start + timedelta(days=1)
    elif parts[1]:
        after = (start + timedelta(days=31)).replace(day=1)
    else:
        after = start.replace(year=start.year + 1)
    return after - timedelta(microseconds=1)
