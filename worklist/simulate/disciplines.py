"""Who goes first: the live list's own rank under its policies, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from worklist.order.policy import Policy
from worklist.order.rank import EMERGENT, StudyFacts, rank
from worklist.simulate.engine import Floats, Ints, Places
from worklist.simulate.studies import Flag, Kind, Studies

_EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE = 60_000_000  # microseconds

#: A lane, and microseconds from the start of the clock to the due date.
Place = tuple[int, int]
#: The place of a kind of study while these flags are known.
PlaceOf = Callable[[Kind, Sequence[Flag]], Place]

#: The lanes of QuCAD's classes: what interrupts, then what AI flags, then the rest.
_FLAGGED = 1
_LAST = 1_000


@dataclass(frozen=True)
class Discipline:
    """A way to order the list. `guard`: minutes after which a study joins the flagged class."""

    name: str
    place: PlaceOf
    guard: float | None = None


def ranked(policy: Policy) -> PlaceOf:
    """The production rank under `policy`: it is asked once for each kind of study."""

    def place(kind: Kind, flags: Sequence[Flag]) -> Place:
        facts = StudyFacts(
            study="",
            received_at=_EPOCH,
            clock=_EPOCH,
            readable=True,
            order_class=kind.order_class,
            location=kind.location,
            flags=tuple((flag.ai, flag.code) for flag in flags),
        )
        found = rank(facts, policy)
        return found.lane, (found.due_at - _EPOCH) // _MICROSECOND

    return place


def _classes(policy: Policy, *, hierarchical: bool) -> PlaceOf:
    emergent = ranked(policy.without_ai())

    def place(kind: Kind, flags: Sequence[Flag]) -> Place:
        if emergent(kind, ())[0] <= EMERGENT:
            return 0, 0
        if not flags:
            return _LAST, 0
        return (min(flag.level for flag in flags) if hierarchical else _FLAGGED), 0

    return place


#: What can be compared. Strict priority is QuCAD's order, hierarchical is multi-QuCAD's; in both,
#: what the policy calls emergent goes before all.
NAMES = (
    "vigie",
    "ai-off",
    "fifo",
    "strict-classes",
    "strict-priority",
    "hierarchical",
    "max-wait-guard",
)
#: Those of them that go by what AI says.
WITH_AI = frozenset({"vigie", "strict-priority", "hierarchical", "max-wait-guard"})


def discipline(name: str, policy: Policy, guard: float) -> Discipline:
    """The discipline `name`. `guard` (minutes) is max-wait-guard's: strict priority, but whoever
    has waited so long joins the flagged class, in the order of arrival.

    Raises LookupError, with the names there are.
    """
    match name:
        case "vigie":
            return Discipline(name, ranked(policy))
        case "ai-off":
            return Discipline(name, ranked(policy.without_ai()))
        case "fifo":
            return Discipline(name, ranked(policy.fifo()))
        case "strict-classes":
            return Discipline(name, ranked(policy.model_copy(update={"mode": "strict_classes"})))
        case "strict-priority":
            return Discipline(name, _classes(policy, hierarchical=False))
        case "hierarchical":
            return Discipline(name, _classes(policy, hierarchical=True))
        case "max-wait-guard":
            return Discipline(name, _classes(policy, hierarchical=False), guard)
    raise LookupError(f"no policy is called {name!r}: there are {', '.join(NAMES)}")


def places(studies: Studies, order: Discipline) -> Places:
    """Which place each study takes from when on."""
    clock = np.rint(studies.arrived * _MINUTE).astype(np.int64)
    number = np.arange(len(studies))
    first = [order.place(k, [f for f in k.flags if not f.after]) for k in studies.kinds]
    parts = [_part(studies.arrived, number, clock, studies.kind, first)]
    for after in sorted({f.after for k in studies.kinds for f in k.flags if f.after}):
        raised = [order.place(k, [f for f in k.flags if f.after <= after]) for k in studies.kinds]
        answers = np.array([any(f.after == after for f in k.flags) for k in studies.kinds])
        of = number[answers[studies.kind]]
        parts.append(_part(studies.arrived[of] + after, of, clock[of], studies.kind[of], raised))
    if order.guard is not None:
        at = studies.arrived + order.guard
        parts.append(_part(at, number, clock, np.zeros(len(number), np.int64), [(_FLAGGED, 0)]))
    if len(parts) == 1:
        return parts[0]
    at = np.concatenate([part.at for part in parts])
    by_time = np.argsort(at, kind="stable")
    study, lane, due = (
        np.concatenate([getattr(part, name) for part in parts])[by_time]
        for name in ("study", "lane", "due")
    )
    return Places(at[by_time], study, lane, due)


def _part(at: Floats, study: Ints, clock: Ints, kind: Ints, place_of: Sequence[Place]) -> Places:
    table = np.array(place_of, np.int64)
    return Places(at, study, table[kind, 0], clock + table[kind, 1])
