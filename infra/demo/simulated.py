"""What the simulator makes of the day that was: the same arrivals and the same starts of reads, and
the wait that each study then has, beside the one that it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from worklist.order.policy import Policy
from worklist.order.rank import StudyFacts, rank
from worklist.simulate.engine import Places, Staff, serve

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_MICROSECOND, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)
#: What the audit says of a study, oldest first.
ACTS = ("rank", "next", "claim")


class Act(NamedTuple):
    """One line of the audit, and when the waiting of its study began (None: the row is gone)."""

    study: str
    at: datetime
    act: str
    detail: Mapping[str, Any]
    clock: datetime | None


@dataclass
class _Study:
    """What became of one study: its ranks while it could be read, and when a reader took it."""

    ranks: list[Act] = field(default_factory=list)
    taken: datetime | None = None


def against_simulator(acts: Iterable[Act], policy: Policy, speed: float) -> dict[str, Any]:
    """The report's ``readers_and_simulator``: how many reads, how many of them the simulator gives
    to the same study, mean waits in simulated seconds, and the largest difference of one study.

    A study that left the list unread (cancelled, reported elsewhere) is left out: no order of
    reading put it there. `speed`: simulated seconds in one of the clock.
    """
    read = sorted(_read(acts).items())
    if not read:
        return {"reads": 0, "same": 0, "mean_wait_s": None, "largest_difference_s": None}
    start = min(study.ranks[0].at for _, study in read)
    arrived = np.array([(study.ranks[0].at - start) / _SECOND for _, study in read])
    had = np.array([((study.taken or start) - start) / _SECOND for _, study in read])
    served = serve(
        _places([study for _, study in read], start, policy),
        np.zeros(len(read)),
        np.zeros(len(read), np.int64),
        Staff.reads(np.sort(had)),
        preemptive=False,
    )
    off = np.abs(served.opened - had) * speed
    means = {"readers": had - arrived, "simulator": served.opened - arrived}
    return {
        "reads": len(read),
        "same": int((off < 1).sum()),
        "mean_wait_s": {who: round(float(w.mean()) * speed, 1) for who, w in means.items()},
        "largest_difference_s": round(float(off.max()), 1),
    }


def _read(acts: Iterable[Act]) -> dict[str, _Study]:
    """The studies that a reader took, by the item that breaks ties on the list."""
    studies: dict[str, _Study] = {}
    items: dict[str, str] = {}
    for act in acts:
        study = studies.setdefault(act.study, _Study())
        if study.taken is not None:
            continue
        if act.act != "rank":
            study.taken = act.at
        elif act.detail["state"] == "readable" and act.clock is not None:
            study.ranks.append(act)
            items[act.study] = f"{act.detail['received_at']} {act.detail['item']}"
    return {items[name]: s for name, s in studies.items() if s.taken is not None and s.ranks}


def _places(studies: Sequence[_Study], start: datetime, policy: Policy) -> Places:
    """The place of each study at each of its ranks, as the production rank sees the facts."""
    rows = []
    for number, study in enumerate(studies):
        for act in study.ranks:
            found = rank(_facts(act), policy)
            due = (found.due_at - _EPOCH) // _MICROSECOND
            rows.append(((act.at - start) / _SECOND, number, found.lane, due))
    rows.sort(key=lambda row: row[0])
    at, of, lane_of, due_of = zip(*rows, strict=True)
    return Places(np.array(at), *(np.array(c, np.int64) for c in (of, lane_of, due_of)))


def _facts(act: Act) -> StudyFacts:
    """What the rank depended on, out of the reasons that the list kept."""
    terms = [(term.partition(":"), source) for term, _, source in act.detail["why"]]
    named = {kind: name for (kind, _, name), _ in terms}
    return StudyFacts(
        study=act.detail["item"],
        received_at=datetime.fromisoformat(act.detail["received_at"]),
        clock=act.clock or act.at,
        readable=True,
        pinned="pinned" in named,
        order_class=named.get("class", "unknown"),
        location=named.get("location", ""),
        flags=tuple((source, name) for (kind, _, name), source in terms if kind == "flag"),
        abstained=tuple(source for (kind, _, _), source in terms if kind == "abstained"),
    )
