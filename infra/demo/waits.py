"""The waits that the simulator gives the day's arrivals, at the very reads that were.

Mean waits under our rank, with AI off and under FIFO; and each study's beside the one that it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from worklist.order.policy import Policy
from worklist.order.rank import Rank, StudyFacts, rank, variants

if TYPE_CHECKING:
    from worklist.simulate.engine import Floats

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_MICROSECOND, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)
#: What the audit is asked for.
ACTS = ("rank", "next", "claim")


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
    rows = []
    for number, arrival in enumerate(arrivals):
        rows.append((arrival.at, number, _rank(arrival, False, policy)))
        if arrival.flagged_at is not None:
            later = max(arrival.at, arrival.flagged_at)
            rows.append((later, number, _rank(arrival, True, policy)))
    pace = max(1.0, (reads[-1] - reads[0]) / max(1, len(reads) - 1))
    last = max(reads[-1], *(arrival.at for arrival in arrivals))
    more = np.arange(reads[-1] + pace, last + pace * (len(arrivals) + 2), pace)
    opened = _opened(rows, len(arrivals), np.concatenate((np.array(reads, float), more)))
    return {a.study: float(at) - a.at for a, at in zip(arrivals, opened, strict=True)}


def _opened(rows: list[tuple[float, int, Rank]], count: int, reads: Floats) -> Floats:
    """When each of `count` studies is taken: at each of `reads` the first of the list.

    `rows`: from which second on which study has which rank.
    """
    rows.sort(key=lambda row: row[0])
    # imported here: numba takes half a second to load, and the day is over before it is needed
    from worklist.simulate.engine import Places, Staff, serve

    places = Places(
        np.array([at for at, _, _ in rows], float),
        np.array([number for _, number, _ in rows], np.int64),
        np.array([found.lane for _, _, found in rows], np.int64),
        np.array([(found.due_at - _EPOCH) // _MICROSECOND for _, _, found in rows], np.int64),
    )
    pool = np.zeros(count, np.int64)
    return serve(places, np.zeros(count), pool, Staff.reads(reads), preemptive=False).opened


def _rank(arrival: Arrival, flagged: bool, policy: Policy) -> Rank:
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
    return rank(facts, policy)


# ---- beside what was


class Act(NamedTuple):
    """One line of the audit."""

    study: str
    at: datetime
    act: str
    detail: Mapping[str, Any]


@dataclass
class _Study:
    """What became of one study: its ranks while it could be read, and when a reader took it."""

    ranks: list[Act] = field(default_factory=list)
    taken: datetime | None = None


def against_simulator(
    acts: Iterable[Act], kept: Policy, policy: Policy, speed: float
) -> dict[str, Any]:
    """The report's ``readers_and_simulator``: how many reads, how many of them the simulator gives
    to the same study, mean waits in simulated seconds, and the largest difference of one study.

    A study that left the list unread (cancelled, reported elsewhere) is left out: no order of
    reading put it there.

    Args:
        kept: the policy that the list kept.
        policy: the one that the simulator goes by.
        speed: simulated seconds in one of the clock.
    """
    read = sorted(_read(acts).items())
    if not read:
        return {"reads": 0, "same": 0, "mean_wait_s": None, "largest_difference_s": None}
    start = min(study.ranks[0].at for _, study in read)
    arrived = np.array([(study.ranks[0].at - start) / _SECOND for _, study in read])
    had = np.array([((study.taken or start) - start) / _SECOND for _, study in read])
    ranks = [
        ((act.at - start) / _SECOND, number, rank(_facts(act, kept), policy))
        for number, (_, study) in enumerate(read)
        for act in study.ranks
    ]
    opened = _opened(ranks, len(read), np.sort(had))
    off = np.abs(opened - had) * speed
    means = {"readers": had - arrived, "simulator": opened - arrived}
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
        elif act.detail["state"] == "readable":
            study.ranks.append(act)
            items[act.study] = f"{act.detail['received_at']} {act.study}"
    return {items[name]: s for name, s in studies.items() if s.taken is not None and s.ranks}


def _facts(act: Act, kept: Policy) -> StudyFacts:
    """What the rank depended on, out of the reasons that the list kept under the policy `kept`."""
    terms = [(term.partition(":"), source) for term, _, source in act.detail["why"]]
    named = {kind: name for (kind, _, name), _ in terms}
    facts = StudyFacts(
        study=act.study,
        received_at=datetime.fromisoformat(act.detail["received_at"]),
        clock=_EPOCH,
        readable=True,
        pinned="pinned" in named,
        order_class=named.get("class", "unknown"),
        location=named.get("location", ""),
        flags=tuple((source, name) for (kind, _, name), source in terms if kind == "flag"),
        abstained=tuple(source for (kind, _, _), source in terms if kind == "abstained"),
    )
    # The audit has no clock: it is as far before the due date as the rank puts it.
    allowed = rank(facts, kept).due_at - _EPOCH
    return replace(facts, clock=datetime.fromisoformat(act.detail["due_at"]) - allowed)
