"""A row as the record has it: everything but leases, as a pure function of facts and acts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from streams.events import Coverage, ExamProgressed, Number
from streams.sealed import Identity
from worklist.order.policy import Policy
from worklist.order.rank import StudyFacts
from worklist.record.acts import Act, Acts
from worklist.record.ai import Ai, ai_of
from worklist.record.closing import Closing, closing_of, flagged_at
from worklist.record.facts import Fact, accessions, stands
from worklist.record.images import Images, historic, images_of
from worklist.record.orders import Order, OrderState, fact_member
from worklist.record.persons import Person
from worklist.record.relate import Component, components
from worklist.record.rows import Related
from worklist.record.shown import Shown, roots_of, shown
from worklist.record.world import World

#: States of a row that has left the list: *read* by a person, or closed by what was said of it.
CLOSED = frozenset({"read", "final", "cancelled", "historic"})


#: How near to its end a step is.
_ENDED = {"in_progress": 0, "discontinued": 1, "available": 2, "completed": 3}


@dataclass(frozen=True)
class Decision:
    """Where a row stands, and what has to be said beside it."""

    state: str
    marks: frozenset[str]
    clock: datetime
    readable: bool


@dataclass(frozen=True)
class Item:
    """A reading item. `name` is the member under which it is shown; it answers to all `members`."""

    name: str
    members: tuple[str, ...]
    uid: str
    accessions: tuple[str, ...]
    person: str
    person_known: bool
    shown: Shown
    priority: str
    borrowed: tuple[str, ...]
    state: str
    marks: tuple[str, ...]
    received_at: datetime
    clock: datetime
    last_image_at: datetime | None
    report_at: datetime | None
    images_here: int
    images_announced: int | None
    ai: Ai
    pin: Act | None
    outcome: str
    finish: Act | None
    reading: tuple[datetime, str] | None
    readable: bool
    facts: tuple[Fact, ...]
    siblings: tuple[str, ...]

    @property
    def open(self) -> bool:
        """Whether it is on the list."""
        return self.state not in CLOSED

    @property
    def identity(self) -> Identity:
        """Who the patient is."""
        return self.shown.identity

    @property
    def coverage(self) -> Coverage | None:
        """How much of it a model read."""
        return self.ai.coverage

    def rank_facts(self) -> StudyFacts:
        """What `worklist.order.rank` needs."""
        return StudyFacts(
            study=self.name,
            received_at=self.received_at,
            clock=self.clock,
            readable=self.readable,
            scheduled_at=self.shown.scheduled_at,
            pinned=self.pin is not None,
            order_class=self.priority,
            location=self.shown.location,
            flags=tuple((package, code) for package, code, _ in self.ai.flags),
            abstained=self.ai.abstained,
        )


def derive(facts: Iterable[Fact], world: World, policy: Policy) -> list[Item]:
    """The items of all components of `facts`, by name. Pure, and free of order."""
    return listed_and_off(facts, world, policy)[0]


def listed_and_off(
    facts: Iterable[Fact], world: World, policy: Policy
) -> tuple[list[Item], list[Item]]:
    """The same, and what would be items but for a rule that keeps them off the list, by name."""
    known = list(facts)
    acts = Acts([fact.act for fact in known if fact.act])
    found: tuple[list[Item], list[Item]] = [], []
    for component in components(known, world):
        for row, item in _items(component, acts, policy):
            off = row.hidden and not acts.last(frozenset(row.owned), "promote")
            found[off].append(item)
    for items in found:
        items.sort(key=lambda item: item.name)
    return found


def _items(component: Component, acts: Acts, policy: Policy) -> Iterator[tuple[Related, Item]]:
    kin: dict[Person, set[str]] = defaultdict(set)
    for row in component.rows:
        kin[row.person] |= row.owned.keys()
    named = [_accessions(row) for row in component.rows]
    beside = zip(component.rows, named, _siblings(component.rows, named), strict=True)
    for row, mine, siblings in beside:
        near = _Near(kin[row.person], mine, siblings)
        yield row, _item(row, component, acts, near, policy)


class _Near(NamedTuple):
    """What a row's component says of it: the members of its person, and its neighbours."""

    kin: Collection[str]
    accessions: tuple[str, ...]
    siblings: tuple[str, ...]


def _item(
    row: Related,
    component: Component,
    acts: Acts,
    near: _Near,
    policy: Policy,
) -> Item:
    members = frozenset(row.owned)
    states = [order.state for order in row.orders]
    images = images_of(row)
    ai = ai_of(row, acts.of(members, "clear_flag"), policy)
    closing = closing_of(row, images, acts, near.kin, ai)
    said = acts.last(members, "set_priority")
    of_orders = [act for o in _lending(row) if (act := acts.last(o.known_as, "set_priority"))]
    priority, conflict, borrowed = priority_of(row, said, policy, of_orders)
    decision = decide_state(row, states, images, closing, acts, ai, policy)
    marks = set(decision.marks)
    marks |= {"priority_conflict"} if conflict else set()
    marks |= {"may_be_order"} if borrowed else set()
    linked = any(component.history.linked_within(root) for root in roots_of(row, component))
    marks |= {"number_linked"} if linked else set()
    told = shown(row, component)
    marks |= {"identity_changed"} if told.changed else set()
    pin = acts.last(members, "pin", "unpin")
    outcome = acts.last(members, "outcome")
    return Item(
        name=row.name,
        members=tuple(sorted(row.owned)),
        uid=row.uid,
        accessions=near.accessions,
        person=_person(row, component),
        person_known=row.person.root is not None and not row.person.alone,
        shown=told,
        priority=priority,
        borrowed=borrowed,
        state=decision.state,
        marks=tuple(sorted(marks)),
        received_at=min(fact.received for fact in row.facts),
        clock=decision.clock,
        last_image_at=images.last,
        report_at=max((s.reported_at for s in states if s.reported_at), default=None),
        images_here=images.here,
        images_announced=images.announced,
        ai=ai,
        pin=pin if pin and pin.act == "pin" else None,
        outcome=outcome.code if outcome else "",
        finish=closing.finish,
        reading=max((order.reading for order in row.orders if order.reading), default=None),
        readable=decision.readable,
        facts=tuple(row.facts),
        siblings=near.siblings,
    )


def decide_state(
    row: Related,
    states: Sequence[OrderState],
    images: Images,
    closing: Closing,
    acts: Acts,
    ai: Ai,
    policy: Policy,
) -> Decision:
    """Where a row stands: closed, historic, readable (the first thing that says so), or not yet."""
    members = frozenset(row.owned)
    received = min(fact.received for fact in row.facts)
    clock = closing.since or images.clock() or received
    marks = _marks(row, states, images, closing, ai)
    exam = set(_steps(row).values())
    promoted = acts.last(members, "promote") is not None
    stepped = any(getattr(fact.event, "status", "") != "available" for fact in row.steps)
    named = bool(row.orders or row.lent or stepped)
    if closing.state:
        return Decision(closing.state, marks, clock, False)
    if closing.finish:
        return Decision("read", marks, clock, images.exist or bool(ai.flags))
    old = historic(row, policy.historic_after_days, named)
    # A flag, or doubt about whose the images are, keeps them on the list.
    if old and not (promoted or ai.flags or row.person.alone):
        return Decision("historic", marks, clock, False)
    if images.exist or ai.flags:
        # It leaves the first reads only when each order that waits has its preliminary report.
        waiting = [state.report == "preliminary" for state in states if state.open]
        first = closing.since is not None or not waiting or not all(waiting)
        state = "readable" if first else "preliminary"
        return Decision(state, marks, clock, True)
    performed = any(s.status in ("in_progress", "performed") for s in states)
    if exam == {"discontinued"} and not (row.orders or row.series):
        return Decision("cancelled", marks, clock, False)  # nobody ordered it, nothing to read
    under_way = bool(exam & {"in_progress", "completed"} or row.series) or performed
    return Decision("arriving" if under_way else "expected", marks, clock, False)


def _marks(
    row: Related, states: Sequence[OrderState], images: Images, closing: Closing, ai: Ai
) -> frozenset[str]:
    """What the reader has to know beside the state."""
    newest = min(_steps(row).values(), key=lambda status: _ENDED[status], default="")
    gone = bool(states) and all(state.cancelled for state in states)
    closed = bool(closing.state or closing.finish)  # nobody has to confirm it any more
    said = {
        "identity_conflict": row.conflict,
        "person_unknown": bool(row.person.alone),
        "number_reused": row.reused,
        "doubtful_clock": images.doubtful,
        "other_bytes": images.other_bytes,
        "incomplete": _incomplete(images, newest, bool(ai.flags)),
        "exam_discontinued": newest == "discontinued" and images.exist,
        "new_since_read": closing.since is not None,
        "report_withdrawn": closing.withdrawn,
        "orders_waiting": closing.waiting > 0,
        "order_unclear": any(state.open and state.unclear for state in states),
        "cancelled_images_exist": gone and images.exist and not closed,
        "flagged_after_read": bool(ai.flags)
        and closing.closed_at is not None
        and any(at > closing.closed_at for at in flagged_at(row)),
    }
    return row.bad | {name for name, holds in said.items() if holds}


def _steps(row: Related) -> dict[str, str]:
    """Where each step stands, by UID; no step comes back from its end."""
    steps: dict[str, str] = {}
    for fact in sorted(row.steps, key=lambda f: f.key):
        event = fact.event
        assert isinstance(event, ExamProgressed)
        uid = next((n.value for n in event.numbers if n.kind == "step"), "")
        old = steps.get(uid)
        if old is None or _ENDED[event.status] > _ENDED[old]:
            steps[uid] = event.status
    return steps


def _incomplete(images: Images, step: str, flagged: bool) -> bool:
    """Only localizers, fewer images than announced, or an exam that is still under way."""
    if images.elsewhere:
        return False
    if not images.exist:
        return flagged
    fewer = images.announced is not None and images.here < images.announced
    return images.only_localizer or fewer or step == "in_progress"


def priority_of(
    row: Related, said: Act | None, policy: Policy, of_orders: Sequence[Act] = ()
) -> tuple[str, bool, tuple[str, ...]]:
    """The order class, whether sources differ, and the numbers of the orders that lend theirs.

    Urgency errs upward: the row's own orders count, and those that its study's numbers name and
    that are not certainly another patient's; without an open order of its own, all that they name.
    An order whose priority nobody states is of class *unknown*, and so is a row without an order,
    whatever lower class somebody else's order lends it. A person may say anything; what a
    source raises after that still raises, what it only says again does not. What a person said of
    an order where it stood by itself raises each row that has it or borrows it, and lowers none.

    Args:
        of_orders: what persons said of its orders, as far as it may be raised by them.
    """
    waiting = _lending(row)
    own = [order for order in row.orders if order.state.open]
    lent = waiting[len(own) :]
    chosen = [*(own or row.orders), *lent]
    heard = [pair for order in chosen for pair in order.priorities]
    classes = {policy.order_class(code) for _, code in heard}
    unsaid = (
        {"unknown"} if not row.orders or not all(order.priorities for order in chosen) else set()
    )
    top = most_urgent(classes | unsaid, policy)
    heard += [(act.at, act.code) for act in of_orders]
    raised = {policy.order_class(act.code) for act in of_orders}
    top = most_urgent({top} | raised, policy)
    if said is not None:
        later = {policy.order_class(code) for since, code in heard if since > said.at}
        top = most_urgent({policy.order_class(said.code)} | later, policy)
    numbers = {n.value for order in lent for n in _order_numbers(order)}
    return top, len(classes) > 1, tuple(sorted(numbers))


def _lending(row: Related) -> list[Order]:
    """Its orders that wait, and those that it borrows."""
    own = [order for order in row.orders if order.state.open]
    lent = [order for order, certain in row.lent if order.state.open and not (certain and own)]
    return [*own, *lent]


def most_urgent(classes: Iterable[str], policy: Policy) -> str:
    """Of several order classes the one that is read soonest."""
    return min(
        classes, key=lambda c: (c not in policy.emergent.classes, policy.classes[c].horizon, c)
    )


def _order_numbers(order: Order) -> list[Number]:
    found = [n for f in order.facts for n in f.numbers if n.kind in ("placer", "filler")]
    found = found or [n for f in order.facts for n in accessions(f.numbers)]
    return found or [n for f in order.facts for n in f.numbers]


def _accessions(row: Related) -> tuple[str, ...]:
    """All accession numbers of the row, corrected ones and order numbers that a door took for want
    of one too, these last; the earliest received first.
    """
    first: dict[str, datetime] = {}
    facts = row.facts
    for fact in facts:
        for number in accessions(fact.numbers):
            first[number.value] = min(first.get(number.value, fact.received), fact.received)
    if len(first) < 2:
        return tuple(first)
    previous = {
        n.value for f in facts for n in getattr(f.event, "previous", ()) if n.value in first
    }
    previous |= {value for order in row.orders for value in _corrected(order)}
    previous |= first.keys() - {n.value for f in facts for n in accessions(f.narrowing)}
    return tuple(sorted(first, key=lambda value: (value in previous, first[value], value)))


def _corrected(order: Order) -> set[str]:
    """The accessions that an order had before its sender changed them."""
    told = stands(order.said, lambda fact: accessions(fact.narrowing) or None)
    if told is None or not getattr(told[0].event, "changes", False):
        return set()
    now = {number.value for number in told[1]}
    return {n.value for fact in order.said for n in accessions(fact.numbers)} - now


def _person(row: Related, component: Component) -> str:
    """What rows of one person have in common: the smallest number that is the person's, or that a
    link says is: no number need connect the studies of the two.
    """
    roots = roots_of(row, component)
    if not roots or row.person.alone:
        return ""
    return "|".join(map(str, min(kin for root in roots for kin in component.history.kin(root))))


def _siblings(rows: Sequence[Related], named: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Of each row those of the same person that share an accession: offered together."""
    holding: dict[tuple[Person, str], list[int]] = defaultdict(list)
    for place, (row, mine) in enumerate(zip(rows, named, strict=True)):
        for accession in mine:
            holding[(row.person, accession)].append(place)
    found = []
    for place, (row, mine) in enumerate(zip(rows, named, strict=True)):
        near = {other for accession in mine for other in holding[(row.person, accession)]}
        found.append(tuple(sorted(rows[other].name for other in near - {place})))
    return found


def by_member(items: Iterable[Item]) -> Mapping[str, Item]:
    """Each member's item; a fact that ever named a row by itself leads to the item that has it."""
    known = list(items)
    found = {fact_member(fact): item for item in known for fact in item.facts}
    return found | {member: item for item in known for member in item.members}
