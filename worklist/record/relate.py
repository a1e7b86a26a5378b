"""What belongs together: components of facts, their orders, and the rows that they make.

Everybody who asks what belongs together asks here: rows, siblings, reports, steps, and the closure
that a transaction locks (by the same `numbers` and `shared`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

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
    member_id,
    members_of,
    order_members,
    orders_of,
    place_reports,
    study_member,
)
from worklist.record.persons import Person, Split, split, united
from worklist.record.world import Names, World, connected


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
    _place_findings([f for f in facts if isinstance(f.event, FindingsMade)], rows, people)
    _meet_others(rows, orders, people, world)
    for row in rows:
        row.reused = any(fact.key in people.marked for fact in row.facts)
        row.shared = any(world.is_shared(n) for f in row.facts for n in f.numbers)
    _own(rows)
    return Component(list(facts), people, rows, history)


def _studies(facts: Sequence[Fact], people: Split) -> list[Related]:
    """A row per person and study UID of which images exist, here or elsewhere.

    A finding whose series has not arrived makes one too: a flag is never off the list.
    """
    rows: dict[tuple[str, Person], Related] = {}
    for fact in facts:
        event = fact.event
        uids: list[str] = []
        if isinstance(event, SeriesReceived | FindingsMade):
            uids = [event.study_uid]
        elif isinstance(event, ExamProgressed) and event.status == "available":
            uids = [n.value for n in event.numbers if n.kind == "study"]
        for uid in uids:
            person = people.of[fact.key]
            row = rows.setdefault((uid, person), Related(person, uid))
            if isinstance(event, SeriesReceived):
                row.series.append(fact)
            elif isinstance(event, ExamProgressed):
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
    """Steps by their UID: an N-SET names nothing else, and is of the patient that N-CREATE names."""
    by_uid: dict[str, list[Fact]] = {}
    for fact in facts:
        event = fact.event
        if isinstance(event, ExamProgressed):
            if event.status == "available" and any(n.kind == "study" for n in event.numbers):
                continue  # it makes its rows
            uid = next((n.value for n in event.numbers if n.kind == "step"), fact.key)
            by_uid.setdefault(uid, []).append(fact)
    exams: dict[tuple[str, Person], _Exam] = {}
    for uid, said in by_uid.items():
        stated = {people.of[f.key] for f in said if f.patient}
        for fact in said:
            if not fact.patient and len(stated) == 1:
                people.of[fact.key] = next(iter(stated))
            person = people.of[fact.key]
            exams.setdefault((uid, person), _Exam(person, [])).facts.append(fact)
    return list(exams.values())


def _steps_of_studies(exams: Iterable[_Exam], rows: Sequence[Related]) -> None:
    """A step goes to the studies of its person whose UID it names; their numbers are then its too."""
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


def _place_findings(facts: Sequence[Fact], rows: Sequence[Related], people: Split) -> None:
    """What was found in a fragment goes to the row of its study and patient."""
    studies = {(row.uid, row.person): row for row in rows if row.uid}
    for fact in facts:
        assert isinstance(fact.event, FindingsMade)
        studies[(fact.event.study_uid, people.of[fact.key])].findings.append(fact)


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
        _own(studies)
        meant = [order for order in orders if act.order in order.members()]
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
    names = {id(row): Names(row.facts, world) for row in rows}
    for one, other in _near(rows, names):
        if one.person != other.person and not (one.conflict and other.conflict):
            if names[id(one)].meet(names[id(other)]) and not _settled_between(one, other):
                one.conflict = other.conflict = True
    lenders = {id(order): Names(order.facts, world) for order in orders}
    by_value: dict[tuple[str, str], list[Order]] = {}
    for order in orders:
        for value in lenders[id(order)].values():
            by_value.setdefault(value, []).append(order)
    for row in rows:
        if row.uid:
            there = Names(row.study_facts(), world)
            mine = row.said.keys() | {id(order) for order in row.orders}
            near = {id(o): o for value in there.values() for o in by_value.get(value, ())}
            row.lent = [
                (order, people.certainly_two(order.person, row.person))
                for key, order in near.items()
                if order.person != row.person and key not in mine and lenders[key].meet(there)
            ]


def _near(rows: Sequence[Related], names: Mapping[int, Names]) -> Iterable[tuple[Related, Related]]:
    """Pairs of rows that have some value in common."""
    by_value: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        for value in names[id(row)].values():
            by_value.setdefault(value, []).append(place)
    pairs = {pair for places in by_value.values() for pair in combinations(places, 2)}
    return ((rows[one], rows[other]) for one, other in sorted(pairs))


def _settled_between(one: Related, other: Related) -> bool:
    """Whether a person has said, of each order that makes two rows meet, whose it is."""
    words = [id(order) in other.said for order in one.orders]
    words += [id(order) in one.said for order in other.orders]
    return bool(words) and all(words)


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
