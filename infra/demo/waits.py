"""Mean waits of the same arrivals and reads under our rank, with AI off, and under FIFO."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worklist.order.policy import Policy
from worklist.order.rank import StudyFacts, rank, variants

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Arrival:
    """One study that could be read from `at` on, and was flagged at `flagged_at` (simulated
    seconds).
    """

    study: str
    at: float
    positive: bool
    order_class: str = "unknown"
    location: str = ""
    flagged_at: float | None = None
    flags: tuple[tuple[str, str], ...] = ()


def mean_waits(
    arrivals: Sequence[Arrival], reads: Sequence[float], policy: Policy
) -> dict[str, dict[str, float | None]]:
    """Mean simulated seconds from readable to read, by policy and truth; None where there was no
    such study.

    Args:
        reads: when readers took a study. Each policy gives each of these reads to the study that it
            ranks first at that moment; after the last one the reads go on at the same pace until
            everything is read.
    """
    return {
        name: _split(arrivals, _serve(arrivals, sorted(reads), variant) if reads else {})
        for name, variant in variants(policy).items()
    }


def _split(arrivals: Sequence[Arrival], waits: dict[str, float]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for name, wanted in (("positive", True), ("other", False)):
        chosen = [waits[a.study] for a in arrivals if a.positive is wanted and a.study in waits]
        result[name] = round(sum(chosen) / len(chosen), 1) if chosen else None
    return result


def _serve(arrivals: Sequence[Arrival], reads: Sequence[float], policy: Policy) -> dict[str, float]:
    """Wait of each study when `policy` chooses."""
    events = [(a.at, n, False) for n, a in enumerate(arrivals)]
    events += [
        (max(a.at, a.flagged_at), n, True)
        for n, a in enumerate(arrivals)
        if a.flagged_at is not None
    ]
    events.sort()
    pace = max(1.0, (reads[-1] - reads[0]) / max(1, len(reads) - 1))
    heap: list[tuple[tuple[int, datetime, datetime, str], int]] = []
    waits: dict[str, float] = {}
    now, place, slot = 0.0, 0, 0
    while len(waits) < len(arrivals):
        now = (
            reads[slot]
            if slot < len(reads)
            else max(now + pace, events[place][0] if not heap and place < len(events) else 0.0)
        )
        slot += 1
        while place < len(events) and events[place][0] <= now:
            _, number, flagged = events[place]
            place += 1
            heapq.heappush(heap, (_key(arrivals[number], flagged, policy), number))
        while heap:
            number = heapq.heappop(heap)[1]
            if arrivals[number].study not in waits:
                waits[arrivals[number].study] = now - arrivals[number].at
                break
    return waits


def _key(arrival: Arrival, flagged: bool, policy: Policy) -> tuple[int, datetime, datetime, str]:
    at = _EPOCH + timedelta(seconds=arrival.at)
    facts = StudyFacts(
        study=arrival.study,
        received_at=at,
        clock=at,
        readable=True,
        order_class=arrival.order_class,
        location=arrival.location,
        flags=arrival.flags if flagged else (),
    )
    return rank(facts, policy).key
