"""What belongs together: components of facts, their orders, and the rows that they make.

Everybody who asks what belongs together asks here: rows, siblings, reports, steps, and the closure
that a transaction locks (by the same `numbers` and `shared`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
from worklist.record.orders import Order, order_members, study_member
from worklist.record.persons import Person, Split, split, statement, united
from worklist.record.requisitions import orders_of, orders_of_study, place_reports
from worklist.record.rows import Related, lend_crowded, meet_others, own_members
from worklist.record.world import Names, World, connected

#: By what an exam that no study names finds its order: its own UID says nothing of others.
_OF_EXAM = ("accession", "placer", "filler", "study")


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
    made = [_component(parts, history, acts, world) for parts in found]
    rows = [row for component in made for row in component.rows]
    orders = {id(order): order for row in rows for order in row.orders}
    lend_crowded(rows, list(orders.values()), acts, world)
    return made


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
    reports = [f for f in facts if isinstance(f.event, ReportReceived)]
    studies = [(row.person, Names(row.study_facts(), world)) for row in rows if reports]
    place_reports(reports, orders, studies, people, world)
    _place_orders(rows, orders, acts, world)
    _other_steps(steps, rows, world)
    meet_others(rows, orders, people, world)
    series = [(row, _series_uids(row)) for row in rows]
    every = frozenset[str]().union(*(own for _, own in series))
    for row, own in series:
        row.elsewhere = every - own if row.steps else frozenset()
        row.reused = any(fact.key in people.marked for fact in row.facts)
        row.bad = world.marks(row.facts)
    own_members(rows, world)
    return Component(list(facts), people, rows, history)


def _series_uids(row: Related) -> frozenset[str]:
    return frozenset(
        fact.event.series_uid for fact in row.series if isinstance(fact.event, SeriesReceived)
    )


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
    placed: set[str] = field(default_factory=set)

    def parts(self) -> dict[str, list[Fact]]:
        """Study UID → what was said of it: what names another study says nothing of this one.

        What names no study is said of each; of a step that names none there is one part, "".
        """
        uids = {fact.key: _study_uids(fact) for fact in self.facts}
        named = sorted({uid for mine in uids.values() for uid in mine}) or [""]
        return {
            uid: [f for f in self.facts if uid in uids[f.key] or not uids[f.key]] for uid in named
        }


def _study_uids(fact: Fact) -> list[str]:
    return [number.value for number in fact.numbers if number.kind == "study"]


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
        parts = exam.parts()
        for row in rows:
            if row.person == exam.person and row.uid in parts:
                row.steps += parts[row.uid]
                exam.placed.add(row.uid)


def _other_steps(exams: Iterable[_Exam], rows: list[Related], world: World) -> None:
    """Other steps go to the rows of their person that share a number; the rest are rows."""
    left = [
        (exam.person, said)
        for exam in exams
        for uid, said in exam.parts().items()
        if uid not in exam.placed
    ]
    known = [(row, Names(row.facts, world)) for row in rows] if left else []
    stray: dict[str, Fact] = {}
    people: dict[str, Person] = {}
    for whose, said in left:
        names = Names(said, world)
        fit = [row for row, there in known if row.person == whose and names.meet(there, *_OF_EXAM)]
        for row in fit:
            have = {fact.key for fact in row.steps}
            row.steps += [fact for fact in said if fact.key not in have]
        if not fit:
            stray |= {fact.key: fact for fact in said}
            people |= dict.fromkeys((fact.key for fact in said), whose)
    for said in connected(list(stray.values()), world):
        for person in dict.fromkeys(people[fact.key] for fact in said):
            mine = [fact for fact in said if people[fact.key] == person]
            uids = [uid for fact in mine for uid in _study_uids(fact)]
            rows.append(Related(person, min(uids, default=""), steps=mine))


def _place_orders(rows: list[Related], orders: Sequence[Order], acts: Acts, world: World) -> None:
    """Orders go to the studies of their person that share a number; the rest are rows.

    What persons said then goes over that, word by word: a word names a row by any member that the
    row has by then.
    """
    studies = list(rows)
    known = [(row, Names(row.study_facts(), world)) for row in studies]
    named = [(order, Names(order.facts, world)) for order in orders]
    for row, there in known:
        row.orders += orders_of_study(there, [n for n in named if n[0].person == row.person])
    for act in acts.words():
        own_members(studies, world)
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
