"""The rank: one pure function that SQL sorts by, the page explains, the simulator simulates and the
audit replays.

Its key is a virtual deadline, so it does not change as time passes (promise 6): waiting costs no
re-sorting. Earliest due date with constant allowances is Jackson's dynamic-priority discipline
(Goldberg 1977, doi 10.1287/moor.2.2.145).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from worklist.order.policy import Policy
from worklist.order.policy import Term as Allowance

PINNED, EMERGENT, READABLE, UNREADABLE = 0, 1, 2, 3

#: What FIFO gives everyone, so that its deadlines are the arrivals, shifted.
_FIFO = timedelta(days=1)


class Term(NamedTuple):
    """One reason for a study's place: what applied, its target in seconds, and where it came from."""

    term: str
    target_s: int
    source: str


@dataclass(frozen=True)
class StudyFacts:
    """All that the rank may depend on. `study` is a natural key that breaks ties alike everywhere."""

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
    """The place (the first four, compared as a tuple; smaller is read sooner), the target and the
    reasons.
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
    """Where `study` stands under `policy`. Total: it never raises."""
    terms = list(_terms(study, policy))
    target = study.clock + timedelta(seconds=min(t.target_s for t, _ in terms))
    why = tuple(t for t, _ in terms)
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
    due = study.clock + min(a.wait for _, a in terms)
    lane = _lane(study, policy)
    if policy.mode == "fifo":
        due = study.clock + _FIFO
    elif policy.mode == "strict_classes":
        due = study.clock + policy.classes[policy.order_class(study.order_class)].wait
    if study.pinned:
        why = (Term("pinned", why[0].target_s, "person"), *why)
    return Rank(lane, due, study.received_at, study.study, target, why)


def overtaken_until(place: Rank, policy: Policy) -> datetime:
    """The bound of promise 4: whatever starts its clock later than this is read after `place`,
    flagged or not.

    Within a lane; a late raise only ever uses a clock that has been running, so it cannot pass the
    bound either.
    """
    if policy.mode == "fifo":
        return place.due_at - _FIFO
    terms = [*policy.classes.values()]
    if policy.mode == "vigie":
        terms += policy.locations.values()
        if policy.ai:
            terms += policy.findings.values()
            terms += [policy.abstention] if policy.abstention is not None else []
    return place.due_at - min(t.wait for t in terms)


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
            # A code that the policy does not know still raises: it counts as the most urgent
            # finding it does know.
            allowance = policy.findings.get(code) or min(
                policy.findings.values(), key=lambda a: a.horizon, default=None
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
