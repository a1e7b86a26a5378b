"""What belongs together: components of facts, their orders, and the rows that they make.

Everybody who asks what belongs together asks here: rows, siblings, reports, steps, and the closure
that a transaction locks (by the same `numbers` and `shared`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from streams.events import (
    ActDone,
    ExamProgressed,
    FindingsMade,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
)
from worklist.record.acts import Act, Acts
from worklist.record.facts import Fact, first_receipts, number_node
from worklist.record.groups import Groups
from worklist.record.identities import IdentityHistory
from worklist.record.orders import (
    Order,
    member_id,
    members_of,
    order_members,
    orders_of,
    place_reports,
    study_member,
)
from worklist.record.persons import Person, Split, split, united
from worklist.record.world import World, connected, share


@dataclass
class Related:
    """The facts of one row.

    Attributes:
        uid: of its study; empty: an order of which no image exists.
        lent: orders of somebody else that the study's numbers name, and whether each is certainly
            another patient's.
        conflict: its numbers meet another person's.
        reused: a number of its patient was given to somebody else, or moved, in doubt.
        shared: it names a number that too many patients name.
        owned: member id → fact, of the members by which only this row is named.
    """

    person: Person
    uid: str = ""
    orders: list[Order] = field(default_factory=list)
    series: list[Fact] = field(default_factory=list)
    steps: list[Fact] = field(default_factory=list)
    findings: list[Fact] = field(default_factory=list)
    lent: list[tuple[Order, bool]] = field(default_factory=list)
    conflict: bool = False
    reused: bool = False
    shared: bool = False
    owned: dict[str, Fact] = field(default_factory=dict)

    @property
    def facts(self) -> list[Fact]:
        """All facts of the row."""
        found = [*self.series, *self.steps, *self.findings]
        for order in self.orders:
            found += order.facts
        return found

    def study_facts(self) -> list[Fact]:
        """What was said of the images themselves."""
        return [*self.series, *self.steps]

    def study_members(self) -> dict[str, Fact]:
        """The member ids of the row's study, as each of its patient numbers states it."""
        return members_of(self.study_facts(), lambda fact: [study_member(self.uid, fact)])

    @property
    def name(self) -> str:
        """The member under which the row is shown: the earliest received one."""
        return min(self.owned, key=lambda member: (self.owned[member].received, member))


@dataclass
class Component:
    """What numbers connect, split by person, as rows."""

    facts: list[Fact]
    people: Split
    rows: list[Related]
    history: IdentityHistory


def components(facts: Iterable[Fact], world: World) -> list[Component]:
    """All components of `facts` with their rows. Pure, and free of order."""
    kept = sorted(first_receipts(facts).values(), key=lambda fact: fact.key)
    acts = Acts([fact.act for fact in kept if fact.act])
    history = IdentityHistory(
        (f for f in kept if isinstance(f.event, PatientChanged | PatientMerged)), world.authorities
    )
    members = [f for f in kept if not isinstance(f.event, PatientChanged | PatientMerged | ActDone)]
    found = _with_links(connected(members, world), acts)
    return [_component(parts, history, acts, world) for parts in found]


def _with_links(groups: Sequence[list[Fact]], acts: Acts) -> list[list[list[Fact]]]:
    """Groups that a person linked stand together; each keeps its own persons."""
    links = [pair for pair, act in acts.pairs().items() if act.act == "link"]
    if not links:
        return [[group] for group in groups]
    named: dict[str, set[int]] = defaultdict(set)
    for place, group in enumerate(groups):
        for fact in group:
            for member in _named_as(fact):
                named[member].add(place)
    together = Groups(range(len(groups)))
    for order, study in links:
        places = sorted(named[order] | named[study])
        for place in places[1:]:
            together.join(places[0], place)
    return [[groups[place] for place in places] for places in together.sets().values()]


def _named_as(fact: Fact) -> list[str]:
    """The member ids by which a person names the order or the study that `fact` speaks of."""
    if isinstance(fact.event, OrderChanged | ReportReceived):
        return order_members(fact)
    return [study_member(n.value, fact) for n in fact.numbers if n.kind == "study"]


def _component(
    parts: Sequence[Sequence[Fact]], history: IdentityHistory, acts: Acts, world: World
) -> Component:
    facts = [fact for part in parts for fact in part]
    people = united(split(part, history) for part in parts)
    orders = orders_of([f for f in facts if isinstance(f.event, OrderChanged)], people, world)
    place_reports([f for f in facts if isinstance(f.event, ReportReceived)], orders, people, world)
    rows = _studies(facts, people)
    _place_orders(rows, orders, acts, world)
    _place_steps([f for f in facts if isinstance(f.event, ExamProgressed)], rows, people, world)
    _place_findings([f for f in facts if isinstance(f.event, FindingsMade)], rows, people)
    _meet_others(rows, orders, people, acts, world)
    for row in rows:
        row.reused = any(fact.key in people.marked for fact in row.facts)
        row.shared = any(number_node(n) in world.shared for f in row.facts for n in f.numbers)
    _own(rows)
    return Component(list(facts), people, rows, history)


def _studies(facts: Sequence[Fact], people: Split) -> list[Related]:
    """A row per study UID of which images exist, here or elsewhere, and person."""
    rows: dict[tuple[str, Person], Related] = {}
    for fact in facts:
        event = fact.event
        uids: list[str] = []
        if isinstance(event, SeriesReceived):
            uids = [event.study_uid]
        elif isinstance(event, ExamProgressed) and event.status == "available":
            uids = [n.value for n in event.numbers if n.kind == "study"]
        for uid in uids:
            person = people.of[fact.key]
            row = rows.setdefault((uid, person), Related(person, uid))
            (row.series if isinstance(event, SeriesReceived) else row.steps).append(fact)
    return list(rows.values())


def _place_orders(rows: list[Related], orders: Sequence[Order], acts: Acts, world: World) -> None:
    """Orders go to the studies of their person that share a number; the rest are rows."""
    said = acts.pairs()
    studies = list(rows)
    alone: list[Order] = []
    for order in orders:
        placed = False
        for row in studies:
            word = _word(said, order, row)
            own = row.person == order.person and share(order.facts, row.study_facts(), world)
            if word == "link" or (own and word != "unlink"):
                row.orders.append(order)
                placed = True
        if not placed:
            alone.append(order)
    groups = Groups(range(len(alone)))
    for at, order in enumerate(alone):
        for other in range(at):
            if order.person == alone[other].person and _one_study(order, alone[other]):
                groups.join(at, other)
    for places in groups.sets().values():
        rows.append(Related(alone[places[0]].person, "", [alone[place] for place in places]))


def _word(said: Mapping[tuple[str, str], Act], order: Order, row: Related) -> str:
    """What a person said of an order and a study: ``link``, ``unlink`` or nothing."""
    mine, theirs = order.members(), row.study_members()
    found = [act for (o, study), act in said.items() if o in mine and study in theirs]
    newest = max(found, key=lambda act: act.place, default=None)
    return newest.act if newest else ""


def _one_study(one: Order, other: Order) -> bool:
    """Whether two orders name one study UID: they are read as one (DICOM PS3.3 §C.7.2.1)."""
    uids = {n.value for f in one.facts for n in f.numbers if n.kind == "study"}
    return any(n.value in uids for f in other.facts for n in f.numbers if n.kind == "study")


def _place_steps(facts: Sequence[Fact], rows: list[Related], people: Split, world: World) -> None:
    """A step goes to the rows of its person by study UID, else by any number, else is a row."""
    stray: dict[tuple[str, Person], Related] = {}
    for fact in facts:
        event = fact.event
        assert isinstance(event, ExamProgressed)
        if event.status == "available" and any(n.kind == "study" for n in event.numbers):
            continue  # it made its rows
        person = people.of[fact.key]
        uids = {n.value for n in event.numbers if n.kind == "study"}
        mine = [row for row in rows if row.person == person]
        fit = [row for row in mine if row.uid and row.uid in uids]
        fit = fit or [row for row in mine if share([fact], row.facts, world)]
        for row in fit:
            row.steps.append(fact)
        if not fit:
            uid = min(uids, default="")
            stray.setdefault((uid or fact.key, person), Related(person, uid)).steps.append(fact)
    rows += stray.values()


def _place_findings(facts: Sequence[Fact], rows: Sequence[Related], people: Split) -> None:
    """What was found in a fragment goes to the row of its study and patient."""
    for fact in facts:
        event = fact.event
        assert isinstance(event, FindingsMade)
        for row in rows:
            if row.series and row.uid == event.study_uid and row.person == people.of[fact.key]:
                row.findings.append(fact)


def _meet_others(
    rows: Sequence[Related], orders: Sequence[Order], people: Split, acts: Acts, world: World
) -> None:
    """Marks rows whose numbers meet another person's, and lends them the orders that they name."""
    said = acts.pairs()
    for row in rows:
        linked = {id(order) for order in row.orders}
        for other in rows:
            if other.person == row.person or not share(row.facts, other.facts, world):
                continue
            if not _settled_between(said, row, other):
                row.conflict = True
        if not row.uid:
            continue
        for order in orders:
            if id(order) in linked or _word(said, order, row) == "unlink":
                continue
            if order.person != row.person and share(order.facts, row.study_facts(), world):
                row.lent.append((order, people.certainly_two(order.person, row.person)))


def _settled_between(said: Mapping[tuple[str, str], Act], row: Related, other: Related) -> bool:
    """Whether a person has said, of each order that makes two rows meet, whose it is."""
    pairs = [(order, other) for order in row.orders] + [(order, row) for order in other.orders]
    return bool(pairs) and all(_word(said, order, there) for order, there in pairs)


def _own(rows: Sequence[Related]) -> None:
    """Gives each member to one row: to the only one, else to that whose images came first."""
    ranked = sorted(rows, key=_first_image)
    taken: set[str] = set()
    for row in ranked:
        row.owned = {m: f for m, f in row.study_members().items() if m not in taken}
        taken |= row.owned.keys()
    for row in ranked:
        for order in row.orders:
            fresh = {m: f for m, f in order.members().items() if m not in taken}
            row.owned |= fresh
            taken |= fresh.keys()
        if not row.owned:
            first = min(row.facts, key=lambda fact: (fact.received, fact.key))
            row.owned = {member_id("fact", (first.key,), first): first}


def _first_image(row: Related) -> tuple[bool, datetime, str, str]:
    first = min(row.series or row.facts, key=lambda fact: (fact.received, fact.key))
    return not row.series, first.received, row.uid, first.key
