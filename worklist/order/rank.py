"""The rank: the one pure function that orders the list.

SQL sorts by it, the page explains it, the simulator simulates it and the audit replays it. Its key
is a virtual deadline, which does not change as time passes (promise 6), so that nothing is sorted
again while studies wait. Earliest due date with constant allowances is Jackson's dynamic-priority
discipline (Goldberg 1977, doi 10.1287/moor.2.2.145).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from worklist.order.policy import Allowance, Policy

#: The lanes: pinned by a person, emergent by order, all else that can be read, nothing to read yet.
PINNED, EMERGENT, READABLE, UNREADABLE = 0, 1, 2, 3

#: First in, first out gives everyone the same wait: its deadlines are the arrivals, shifted.
_FIFO = timedelta(days=1)


class Term(NamedTuple):
    """One reason for a study's place: what applied (``class:stat``, ``flag:RID4700``), its target
    in seconds, and who said so (``order``, ``visit``, a package, ``person``, ``state``).
    """

    term: str
    target_s: int
    source: str


@dataclass(frozen=True)
class StudyFacts:
    """All that the rank may depend on. `study` breaks ties, alike everywhere."""

    study: str
    received_at: datetime
    clock: datetime
    readable: bool
    scheduled_at: datetime | None = None
    pinned: bool = False
    order_class: str = "unknown"
    location: str = ""
    flags: tuple[tuple[str, str], ...] = ()  # (package, finding code), shadow packages left out
    abstained: tuple[str, ...] = ()  # packages that looked and were unsure


class Rank(NamedTuple):
    """A study's place, its target and the reasons. The first four fields are compared as a tuple;
    smaller is read sooner.
    """

    lane: int
    due_at: datetime
    received_at: datetime
    study: str
    target_at: datetime
    why: tuple[Term, ...]

    @property
    def key(self) -> tuple[int, datetime, datetime, str]:
        """What is compared."""
        return self[:4]


def rank(study: StudyFacts, policy: Policy) -> Rank:
    """Where `study` stands under `policy`. Defined for every study: it never raises."""
    terms = _terms(study, policy)
    why = tuple(term for term, _ in terms)
    target = study.clock + timedelta(seconds=min(term.target_s for term in why))
    if not study.readable:
        due = study.scheduled_at or study.clock
        return Rank(
            UNREADABLE,
            due,
            study.received_at,
            study.study,
            target,
            (Term("not_readable_yet", why[0].target_s, "state"), *why),
        )
    if study.pinned:
        why = (Term("pinned", why[0].target_s, "person"), *why)
    match policy.mode:
        case "fifo":
            wait = _FIFO
        case "strict_classes":
            wait = policy.classes[policy.order_class(study.order_class)].wait
        case "vigie":
            wait = min(allowance.wait for _, allowance in terms)
    lane = _lane(study, policy)
    return Rank(lane, study.clock + wait, study.received_at, study.study, target, why)


def overtaken_until(due_at: datetime, policy: Policy) -> datetime:
    """The bound of promise 4, for a study that can be read and that `policy` gave `due_at`.

    Whatever starts its clock later than this stands behind it in their lane, flagged or not. A late
    raise cannot pass the bound either: it counts from a clock that was running already.
    """
    match policy.mode:
        case "fifo":
            return due_at - _FIFO
        case "strict_classes":
            allowances = list(policy.classes.values())
        case "vigie":
            allowances = [*policy.classes.values(), *policy.locations.values()]
            if policy.ai:
                allowances += policy.findings.values()
                allowances += [policy.abstention] if policy.abstention is not None else []
    return due_at - min(allowance.wait for allowance in allowances)


def _lane(study: StudyFacts, policy: Policy) -> int:
    if study.pinned:
        return PINNED
    if policy.mode != "fifo" and policy.order_class(study.order_class) in policy.emergent.classes:
        return EMERGENT
    return READABLE


def _terms(study: StudyFacts, policy: Policy) -> list[tuple[Term, Allowance]]:
    name = policy.order_class(study.order_class)
    found: list[tuple[str, str, Allowance]] = [(f"class:{name}", "order", policy.classes[name])]
    if study.location in policy.locations:
        found.append((f"location:{study.location}", "visit", policy.locations[study.location]))
    if policy.ai:
        for package, code in sorted(set(study.flags)):
            # A code that the policy does not know raises all the same: as the most urgent finding
            # that it does know.
            allowance = policy.findings.get(code) or min(
                policy.findings.values(), key=lambda known: known.horizon, default=None
            )
            if allowance is not None:
                found.append((f"flag:{code}", package, allowance))
        if policy.abstention is not None:
            found.extend(
                ("abstained", package, policy.abstention)
                for package in sorted(set(study.abstained))
            )
    return [
        (Term(term, allowance.target_s, source), allowance) for term, source, allowance in found
    ]


Mode = Literal["rank", "ai_off", "fifo"]


def variants(policy: Policy) -> dict[Mode, Policy]:
    """Our rank, the same policy with AI off, and FIFO: what each read is compared under."""
    return {"rank": policy, "ai_off": policy.without_ai(), "fifo": policy.fifo()}
