"""How far the list can be believed, in codes: measured by each web process with its own eyes, so
that page and API tell the truth when an agent, a broker, a database or screening is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from streams.errors import Unavailable
from worklist import metrics
from worklist.freshness import Freshness
from worklist.sql import policy_store
from worklist.sql.asking.screening import Screening, screening
from worklist.sql.database import translated

log = structlog.get_logger()


@dataclass(frozen=True)
class Line:
    """One thing that a reader has to know before trusting the list.

    Attributes:
        code: of `metrics.TRUTHS`, most grave first.
        values: what fills the gaps of its sentence; times as ISO 8601.
    """

    code: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """What is so `as_of` a moment; None: nothing was measured yet."""

    as_of: datetime | None = None
    database: bool = False
    fresh: Freshness = field(default_factory=Freshness)
    stale: bool = False
    lines: tuple[Line, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As API and live feed have it."""
        age = self.fresh.applied_age_s
        return {
            "as_of": self.as_of.isoformat(timespec="milliseconds") if self.as_of else None,
            "database": self.database,
            "stale": self.stale,
            "applied_age_s": None if age is None else round(age, 1),
            "behind": {
                "events": self.fresh.behind_events,
                "seconds": int(self.fresh.behind_s),
            },
            "waits_for": self.fresh.waits_for,
            "lines": [{"code": line.code, **line.values} for line in self.lines],
        }


def lines(database: bool, fresh: Freshness, limit_s: float, ai: Screening) -> tuple[Line, ...]:
    """What has to be said, most grave first; nothing, mostly.

    Args:
        database: whether it answered last.
        limit_s: the list is stale when an event has waited for so long (VIGIE_STALE_S).
    """
    said = []
    if not database:
        said.append(Line("database"))
    if not fresh.fresh(limit_s):
        said.append(Line("behind", {"events": fresh.behind_events, "seconds": int(fresh.behind_s)}))
    if fresh.waits_for and (database or fresh.waits_for != "database"):
        said.append(Line("waits", {"wanted": fresh.waits_for}))
    if fresh.gap:
        said.append(Line("gap", {"events": fresh.gap.lost, "at": fresh.gap.at.isoformat()}))
    if ai.off:
        said.append(Line("ai_off"))
    elif ai.late:
        minutes = int(ai.late_s // 60)
        packages = ", ".join(ai.packages)
        code = "ai_late_of" if packages else "ai_late"
        said.append(Line(code, {"n": ai.late, "minutes": minutes, "packages": packages}))
    elif ai.silent:
        said.append(Line("ai_silent", {"n": ai.silent}))
    if ai.reranking:
        said.append(Line("reranking", {"n": ai.reranking}))
    return tuple(said)


class Teller:
    """One process's telling; `now()` is asked at each paint and for each beat of the feed.

    Args:
        up: whether the database answered the feed last.
        fresh: how far the list is behind what the broker holds.
        stale_s: see `lines`.
        late_s: an answer of screening that takes longer is late.
    """

    def __init__(
        self,
        engine: Engine,
        up: Callable[[], bool],
        fresh: Callable[[], Freshness],
        stale_s: float,
        late_s: float,
    ) -> None:
        self._engine = engine
        self._up, self._fresh = up, fresh
        self._stale_s, self._late_s = stale_s, late_s
        self._screening = Screening()

    def now(self) -> Truth:
        """What is so, by the last look."""
        fresh, up = self._fresh(), self._up()
        said = lines(up, fresh, self._stale_s, self._screening)
        stale = not up or not fresh.fresh(self._stale_s)
        codes = {line.code for line in said}
        for code in metrics.TRUTHS:
            metrics.truth.labels(code).set(code in codes)
        return Truth(datetime.now(UTC), up, fresh, stale, said)

    def look(self) -> None:
        """Asks the database how AI stands; one that is away leaves the last answer."""
        try:
            with translated(), self._engine.connect() as connection:
                policy = policy_store.active(connection)
                self._screening = screening(connection, policy, self._late_s)
        except (Unavailable, LookupError):
            return  # the feed says so
        except SQLAlchemyError as error:
            log.warning("screening_unknown", error=type(error).__name__)

    async def run(self, every_s: float = 5.0) -> None:
        """Looks for ever."""
        while True:
            await asyncio.to_thread(self.look)
            self.now()
            await asyncio.sleep(every_s)
