"""What belongs together: components of facts, their orders, and the rows that they make.

Everybody who asks what belongs together asks here: rows, siblings, reports, steps, and the closure
that a transaction locks (by the same `numbers` and `shared`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
from worklist.record.acts import Acts
from worklist.record.facts import Fact, first_receipts
from worklist.record.groups import Groups
from worklist.record.identities import IdentityHistory
from worklist.record.orders import (
    Order,
    fact_member,
    joining_members,
    members_of,
    order_members,
    orders_of,
    place_reports,
    step_members,
    study_member,
)
from worklist.record.persons import Person, Split, split, statement, united
from worklist.record.world import Holders, Names, World, connected


@dataclass
class Related:
    """The facts of one row.

    Attributes:
        uid: of its study; empty: an order of which no image exists.
        lent: orders of somebody else that the study's numbers name, and whether each is certainly
            another patient's; those are left out while an order of its own is open.
        conflict: its numbers meet another person's.
        reused: a number of its patient was given to somebody else, or moved, in doubt.
        shared: it names a number that too many patients name.
        said: identity of an order → ``link`` or ``unlink``: what a person said of it and the study.
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
    said: dict[int, str] = field(default_factory=dict)
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
        """The member ids of the row's study and steps, as each of its patient numbers states it."""

        def ids(fact: Fact) -> list[str]:
            found = [study_member(self.uid, fact)] if self.uid else []
            return [*found, *step_members(fact)]

        return members_of([*self.study_facts(), *self.findings], ids)

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
    links = [(act.order, act.item) for act in acts.words() if act.act == "link" and act.order]
    if not links:
        return [[group] for group in groups]
    named: dict[str, set[int]] = defaultdict(set)
    for place, group in enumerate(groups):
        for fact in group:
            for member in _named_as(fact):
                named[member].add(place)
    together = Groups(range(len(groups)))
    for order, row in links:
        places = sorted(named[order] | named[row])
        for place in places[1:]:
            together.join(places[0], place)
    return [[groups[place] for place in places] for places in together.sets().values()]


def _named_as(fact: Fact) -> list[str]:
    """The member ids of the order or the study that `fact` speaks of."""
    if isinstance(fact.event, OrderChanged | ReportReceived):
        return order_members(fact)
    return [study_member(n.value, fact) for n in fact.numbers if n.kind == "study"]


def _component(
    parts: Sequence[Sequence[Fact]], history: IdentityHistory, acts: Acts, world: World
) -> Component:
    facts = [fact for part in parts for fact in part]
    people = united(split(part, history) for part in parts)
    steps = _exams(facts, people)
    orders = orders_of([f for f in facts if isinstance(f.event, OrderChanged)], people, world)
    rows = _studies(facts, people)
    _steps_of_studies(steps, rows)
    studies = [(row.person, Names(row.study_facts(), world)) for row in rows]
    reports = [f for f in facts if isinstance(f.event, ReportReceived)]
    place_reports(reports, orders, studies, people, world)
    _place_orders(rows, orders, acts, world)
    _other_steps(steps, rows, world)
    _meet_others(rows, orders, people, world)
    for row in rows:
        row.reused = any(fact.key in people.marked for fact in row.facts)
        row.shared = any(world.is_shared(n) for f in row.facts for n in f.numbers)
    _own(rows, world)
    return Component(list(facts), people, rows, history)


def _studies(facts: Sequence[Fact], people: Split) -> list[Related]:
    """A row per person and study UID of which images exist, here or elsewhere.

    A finding whose series has not arrived makes one too: a flag is never off the list.
    """
    rows: dict[tuple[str, Person], Related] = {}
    for fact in facts:
        event = fact.event
        uids = _available(fact)
        if isinstance(event, SeriesReceived | FindingsMade):
            uids = [event.study_uid]
        for uid in uids:
            person = people.of[fact.key]
            row = rows.setdefault((uid, person), Related(person, uid))
            if isinstance(event, SeriesReceived):
                row.series.append(fact)
            elif isinstance(event, FindingsMade):
                row.findings.append(fact)
            else:
                row.steps.append(fact)
    return list(rows.values())


@dataclass
class _Exam:
    """All that was said of one step (or of one exam whose steps have no UID), and where it went."""

    person: Person
    facts: list[Fact]
    placed: bool = False

    @property
    def uids(self) -> list[str]:
        return sorted({n.value for f in self.facts for n in f.numbers if n.kind == "study"})


def _exams(facts: Sequence[Fact], people: Split) -> list[_Exam]:
    """Steps by their UID: an N-SET names nothing else, and is of the patient that N-CREATE names.

    Availability notices of a study are left out: they make its row.
    """
    by_uid: dict[str, list[Fact]] = {}
    for fact in facts:
        if isinstance(fact.event, ExamProgressed):
            uid = next((n.value for n in fact.numbers if n.kind == "step"), fact.key)
            by_uid.setdefault(uid, []).append(fact)
    exams: dict[tuple[str, Person], _Exam] = {}
    for uid, said in by_uid.items():
        stated = {people.of[f.key] for f in said if f.patient}
        for fact in said:
            if not fact.patient and len(stated) == 1:
                (whose,) = stated
                if statement(fact).born in ("", whose.born):
                    people.of[fact.key] = whose
            if not _available(fact):
                person = people.of[fact.key]
                exams.setdefault((uid, person), _Exam(person, [])).facts.append(fact)
    return list(exams.values())


def _available(fact: Fact) -> list[str]:
    """The studies of which an archive says that it has images."""
    event = fact.event
    if not isinstance(event, ExamProgressed) or event.status != "available":
        return []
    return [n.value for n in event.numbers if n.kind == "study"]


def _steps_of_studies(exams: Iterable[_Exam], rows: Sequence[Related]) -> None:
    """A step goes to the studies of its person whose UID it names, and lends them its numbers."""
    for exam in exams:
        for row in rows:
            if row.person == exam.person and row.uid in exam.uids:
                row.steps += exam.facts
                exam.placed = True


def _other_steps(exams: Iterable[_Exam], rows: list[Related], world: World) -> None:
    """Other steps go to the rows of their person that share a number; the rest are rows."""
    left = [exam for exam in exams if not exam.placed]
    known = [(row, Names(row.facts, world)) for row in rows] if left else []
    stray: list[Fact] = []
    for exam in left:
        names = Names(exam.facts, world)
        fit = [row for row, there in known if row.person == exam.person and names.meet(there)]
        for row in fit:
            row.steps += exam.facts
        if not fit:
            stray += exam.facts
    people = {fact.key: exam.person for exam in left for fact in exam.facts}
    for said in connected(stray, world):
        for person in dict.fromkeys(people[fact.key] for fact in said):
            mine = [fact for fact in said if people[fact.key] == person]
            uids = [n.value for f in mine for n in f.numbers if n.kind == "study"]
            rows.append(Related(person, min(uids, default=""), steps=mine))


def _place_orders(rows: list[Related], orders: Sequence[Order], acts: Acts, world: World) -> None:
    """Orders go to the studies of their person that share a number; the rest are rows.

    What persons said then goes over that, word by word: a word names a row by any member that the
    row has by then.
    """
    studies = list(rows)
    known = [(row, Names(row.study_facts(), world)) for row in studies]
    for order in orders:
        names = Names(order.facts, world)
        for row, there in known:
            if row.person == order.person and names.meet(there):
                row.orders.append(order)
    for act in acts.words():
        _own(studies, world)
        meant = [order for order in orders if act.order in order.members]
        for row in studies:
            if act.item in row.owned:
                for order in meant:
                    row.said[id(order)] = act.act
                mine = [order for order in row.orders if not any(order is o for o in meant)]
                row.orders = [*mine, *meant] if act.act == "link" else mine
    placed = {id(order) for row in studies for order in row.orders}
    by_person: dict[Person, list[Order]] = {}
    for order in orders:
        if id(order) not in placed:
            by_person.setdefault(order.person, []).append(order)
    for person, alone in by_person.items():
        rows += [Related(person, "", together) for together in _one_study(alone)]


def _one_study(orders: Sequence[Order]) -> list[list[Order]]:
    """Orders that name one study UID are read as one (DICOM PS3.3 §C.7.2.1)."""
    groups = Groups(range(len(orders)))
    first: dict[str, int] = {}
    for place, order in enumerate(orders):
        for number in (n for fact in order.facts for n in fact.numbers):
            if number.kind == "study":
                groups.join(place, first.setdefault(number.value, place))
    return [[orders[place] for place in places] for places in groups.sets().values()]


def _meet_others(
    rows: Sequence[Related], orders: Sequence[Order], people: Split, world: World
) -> None:
    """Marks rows whose numbers meet another person's, and lends them the orders that they name.

    A mark ends where a person has said, of each order that makes two rows meet, whose it is.
    """
    if len({row.person for row in rows}) < 2:
        return
    named = [(row, Names(row.facts, world)) for row in rows]
    _mark(named, world)
    # An order that a person linked has found its study: it lends to no other.
    linked = {key for row in rows for key, word in row.said.items() if word == "link"}
    free = [order for order in orders if id(order) not in linked]
    lenders = Holders(((Names(order.facts, world), order) for order in free), world)
    for row, wide in named:
        if not row.uid:
            continue
        waits = any(order.state.open for order in row.orders)
        study = set()
        if not waits:  # else what is certainly somebody else's lends nothing
            study = {id(order) for order in lenders.met(Names(row.study_facts(), world))}
        mine = row.said.keys() | {id(order) for order in row.orders}
        # What is said of one of its orders without its patient may be its own, too.
        for order in lenders.met(wide):
            if order.person != row.person and id(order) not in mine:
                certain = people.certainly_two(order.person, row.person)
                if not certain or id(order) in study:
                    row.lent.append((order, certain))


def _mark(named: Sequence[tuple[Related, Names]], world: World) -> None:
    rows_of: dict[Person, list[tuple[Names, Related]]] = {}
    for row, names in named:
        rows_of.setdefault(row.person, []).append((names, row))
    facts = {person: [f for _, row in rows for f in row.facts] for person, rows in rows_of.items()}
    people = Holders(((Names(said, world), person) for person, said in facts.items()), world)
    words = any(row.said for row, _ in named)
    for row, names in named:
        others = [person for person in people.met(names) if person != row.person]
        row.conflict = bool(others)
        if words and others:
            near = [met for p in others for there, met in rows_of[p] if names.meet(there)]
            row.conflict = any(not _settled_between(row, met) for met in near)


def _settled_between(one: Related, other: Related) -> bool:
    """Whether a person has said, of each order that makes two rows meet, whose it is."""
    words = [id(order) in other.said for order in one.orders]
    words += [id(order) in one.said for order in other.orders]
    return bool(words) and all(words)


def _own(rows: Sequence[Related], world: World) -> None:
    """Gives each member to one row: to the only one, else to that whose images came first."""
    ranked = sorted(rows, key=_first_image)
    taken: set[str] = set()
    for row in ranked:
        row.owned = {m: f for m, f in row.study_members().items() if m not in taken}
        taken |= row.owned.keys()
    for row in ranked:
        for order in row.orders:
            fresh = {m: f for m, f in joining_members(order, world).items() if m not in taken}
            row.owned |= fresh
            taken |= fresh.keys()
        if not row.owned:
            first = min(row.facts, key=lambda fact: (fact.received, fact.key))
            row.owned = {fact_member(first): first}


def _first_image(row: Related) -> tuple[bool, datetime, str, str]:
    first = min(row.series or row.facts, key=lambda fact: (fact.received, fact.key))
    return not row.series, first.received, row.uid, first.key
