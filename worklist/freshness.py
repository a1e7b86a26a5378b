"""How far the list is behind what senders were promised: what the broker holds against what the
database has applied. Measured beside the agent and by each web process, so that a dead agent shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from streams.errors import Unavailable
from streams.kafka.topics import ACTS, FINDINGS, ORDERS, SERIES
from streams.kafka.watermarks import Extent, Place, Record, Watermarks
from worklist import metrics
from worklist.sql.database import translated
from worklist.sql.writing import positions
from worklist.sql.writing.positions import Position

log = structlog.get_logger()

#: What the list is made from.
TOPICS = (ORDERS.name, SERIES.name, FINDINGS.name, ACTS.name)

#: So many looks in a row find the log's start past what was applied, before it counts as expired.
_SURE = 3


@dataclass(frozen=True)
class Gap:
    """Events that were lost before the list had them: when that was found; how many, at least."""

    at: datetime
    lost: int


@dataclass(frozen=True)
class Freshness:
    """How old the list is.

    Attributes:
        applied_age_s: age, at a door, of the newest event that the list holds; None: none yet.
        behind_events: records that the broker holds and the list does not.
        behind_s: for so long the oldest of them has waited.
        gap: the newest that no announced rebuild explains.
        waits_for: what is away (`kafka`, `database`, `policy` …), and the numbers with it: they
            are the last that were known, grown older.
    """

    applied_age_s: float | None = None
    behind_events: int = 0
    behind_s: float = 0.0
    gap: Gap | None = None
    waits_for: str = ""

    def fresh(self, limit_s: float) -> bool:
        """Whether nothing that was acknowledged has waited for longer than `limit_s`."""
        return self.behind_s <= limit_s


class Watch:
    """One process's measuring; `last` is what it found last.

    Attributes:
        expired: partitions whose log starts after what was applied, look after look: their records
            are gone, and no batch will come to say so.
    """

    def __init__(self, engine: Engine, watermarks: Watermarks) -> None:
        self.last = Freshness()
        self.expired: list[Place] = []
        self._engine = engine
        self._watermarks = watermarks
        self._newest: datetime | None = None
        self._waiting: dict[Place, tuple[int, datetime]] = {}  # position wanted → waits since
        self._empty: dict[Place, tuple[int, int]] = {}  # (wanted, end): no record lies between
        self._doubts: dict[Place, tuple[int, int]] = {}  # (applied, how many looks)

    @property
    def waiting(self) -> set[Place]:
        """The partitions whose events wait."""
        return set(self._waiting)

    def look(self, now: datetime, waits_for: str = "") -> Freshness:
        """Asks database and broker; what does not answer is named, and the last numbers stay."""
        behind = self.last.behind_events
        gap = self.last.gap
        try:
            with translated(), self._engine.connect() as connection:
                known = positions.read(connection)
            gap = _gap(known)
            self._newest = max(
                (p.newest_received for p in known if p.newest_received), default=None
            )
            behind = self._compare(known, self._watermarks.extents(TOPICS), now)
        except Unavailable as error:
            waits_for = waits_for or error.where
        except SQLAlchemyError as error:
            log.warning("freshness_unknown", error=type(error).__name__)
            waits_for = waits_for or "database"
        since = min((at for _, at in self._waiting.values()), default=now)
        self.last = Freshness(
            None if self._newest is None else max(0.0, (now - self._newest).total_seconds()),
            behind,
            max(0.0, (now - since).total_seconds()),
            gap,
            waits_for,
        )
        _measure(self.last)
        return self.last

    def _compare(
        self, known: list[Position], extents: Mapping[Place, Extent], now: datetime
    ) -> int:
        """How many records wait; notes since when, of each partition."""
        applied = {position.place: position.offset for position in known}
        lag = {
            place: extent.end - applied.get(place, -1) - 1
            for place, extent in extents.items()
            if extent.end > applied.get(place, -1) + 1
        }
        self._doubt(applied, extents)
        asked = {}
        for place in lag:
            wanted = applied.get(place, -1) + 1
            if self._empty.get(place) == (wanted, extents[place].end):
                continue
            if self._waiting.get(place, (-1, now))[0] != wanted:
                asked[place] = wanted
        self._waiting = {place: at for place, at in self._waiting.items() if place in lag}
        answers = self._watermarks.oldest(asked) if asked else {}
        for place, wanted in asked.items():
            self._note(place, wanted, extents[place].end, answers, now)
        return sum(count for place, count in lag.items() if place in self._waiting)

    def _note(
        self,
        place: Place,
        wanted: int,
        end: int,
        answers: Mapping[Place, Record | None],
        now: datetime,
    ) -> None:
        record = answers.get(place)
        if record is not None:
            self._waiting[place] = (wanted, record.written_at or now)
        elif place in answers:
            self._waiting.pop(place, None)
            self._empty[place] = (wanted, end)
        elif place not in self._waiting:
            self._waiting[place] = (-1, now)  # asked again at the next look

    def _doubt(self, applied: Mapping[Place, int], extents: Mapping[Place, Extent]) -> None:
        doubts = {}
        for place, extent in extents.items():
            at = applied.get(place, -1)
            if extent.start > at + 1:
                before, looks = self._doubts.get(place, (at, 0))
                doubts[place] = (at, looks + 1 if before == at else 1)
        self._doubts = doubts
        self.expired = sorted(place for place, (_, looks) in doubts.items() if looks >= _SURE)


def _gap(known: list[Position]) -> Gap | None:
    alarmed = [position for position in known if position.gap_at]
    if not alarmed:
        return None
    at = max(position.gap_at for position in alarmed if position.gap_at)
    return Gap(at, sum(position.lost for position in alarmed))


def _measure(fresh: Freshness) -> None:
    metrics.behind_events.set(fresh.behind_events)
    metrics.behind_seconds.set(fresh.behind_s)
    metrics.applied_age.set(fresh.applied_age_s or 0.0)
    metrics.gap.set(fresh.gap.at.timestamp() if fresh.gap else 0.0)


class StandStill:
    """For how long a stage has done nothing, though events wait and nothing it needs is away."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._done = -1
        self._since: float | None = None

    def look(self, now_s: float, done: int, *, idle: bool) -> float:
        """Seconds of standing still, given the count of what was `done` by `now_s`; `idle`: nothing
        waits for this stage, or it waits for something that is away.
        """
        if idle or done != self._done or self._since is None:
            self._since = now_s
        self._done = done
        return now_s - self._since
