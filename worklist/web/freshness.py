"""How far the list is behind, as a web process tells it: measured with its own eyes, so that page,
API and readiness tell the truth when the agent is dead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from worklist.freshness import Freshness, Watch

__all__ = ["Banner", "Freshness", "banners", "run"]


@dataclass(frozen=True)
class Banner:
    """One line over the list.

    Attributes:
        code: `behind` (events wait: how many, for how long), `waits` (something is away: the
            numbers are its last), `gap` (events were lost before the list had them).
        events: that wait, or that were lost at least.
        seconds: how long the oldest has waited.
        wanted: what is away.
        at: when the gap was found.
    """

    code: str
    events: int = 0
    seconds: float = 0.0
    wanted: str = ""
    at: datetime | None = None


def banners(fresh: Freshness, limit_s: float) -> list[Banner]:
    """What the page has to say before a reader trusts the list; nothing, mostly.

    Args:
        limit_s: the list counts as stale when an event has waited for so long (VIGIE_STALE_S).
    """
    said = []
    if not fresh.fresh(limit_s):
        said.append(Banner("behind", fresh.behind_events, fresh.behind_s))
    if fresh.waits_for:
        said.append(Banner("waits", wanted=fresh.waits_for))
    if fresh.gap:
        said.append(Banner("gap", fresh.gap.lost, at=fresh.gap.at))
    return said


async def run(watch: Watch, every_s: float = 2.0) -> None:
    """Measures for ever."""
    while True:
        await asyncio.to_thread(watch.look, datetime.now(UTC))
        await asyncio.sleep(every_s)
