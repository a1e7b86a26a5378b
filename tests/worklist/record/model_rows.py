"""A plain model of orders and rows: which facts of one person stand on which row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.events import (
    ExamProgressed,
    FindingsMade,
    OrderChanged,
    ReportReceived,
    SeriesReceived,
)
from tests.worklist.record.model_numbers import kind, meet, numbers, partition, same
from tests.worklist.record.model_people import Person, partition_facts
from worklist.record.facts import Fact


@dataclass
class Row:
    """A study of one person with its orders, or orders alone."""

    person: Person
    uid: str
    images: list[Fact]
    orders: list[list[Fact]] = field(default_factory=list)
    others: list[Fact] = field(default_factory=list)

    said: dict[int, str] = field(default_factory=dict)

    @property
    def facts(self) -> list[Fact]:
        return [*self.images, *(f for order in self.orders for f in order), *self.others]

    def study(self) -> list[Fact]:
        """What was said of the images themselves."""
        return [*self.images, *kind(self.others, ExamProgressed)]


def orders_of(facts: list[Fact]) -> list[list[Fact]]:
    """One person's orders: by order number; else the only one of the accession, else of the UID."""

    def of(*kinds: str) -> Callable[[Fact, Fact], bool]:
        return lambda a, b: any(
            same(x, y) for x in numbers(a) for y in numbers(b) if not kinds or x.kind in kinds
        )

    def has(fact: Fact, *kinds: str) -> bool:
        return any(n.kind in kinds for n in numbers(fact))

    def speaks_of(group: list[Fact], order: list[Fact]) -> bool:
        both = all(any(has(f, "accession") for f in side) for side in (group, order))
        near = of("accession") if both else of()
        return any(near(f, g) for f in group for g in order)

    number, rest = ("placer", "filler"), [f for f in facts if not has(f, "placer", "filler")]
    found = partition([f for f in facts if has(f, *number)], of(*number))
    for part, near in (
        ([f for f in rest if has(f, "accession")], of("accession")),
        ([f for f in rest if not has(f, "accession")], of()),
    ):
        before = [(order, list(order)) for order in found]
        for group in partition(part, near):
            fit = [order for order, said in before if speaks_of(group, said)]
            fit[0].extend(group) if len(fit) == 1 else found.append(group)
    return found


def place_reports(reports: list[Fact], orders: list[list[Fact]], rows: list[Row]) -> None:
    """A report is its orders', by number, else accession, else UID, else of the study that it
    names; else it is evidence of an order that nobody sent."""
    sent = [(order, list(order)) for order in orders]
    lone = []
    for report in reports:
        fit: list[list[Fact]] = []
        for kinds in (("placer", "filler"), ("accession",), ("study",)):
            said = [n for n in numbers(report) if n.kind in kinds]
            fit = fit or [
                order
                for order, facts in sent
                if any(same(n, m) for f in facts for m in numbers(f) for n in said)
            ]
        near = [row for row in rows if meet([report], row.study())]
        other = any(n.kind == "accession" for n in numbers(report))
        fit = fit or [
            order
            for order, facts in sent
            if any(meet(facts, row.study()) for row in near)
            and not (other and any(n.kind == "accession" for f in facts for n in numbers(f)))
        ]
        for order in fit:
            order.append(report)
        if not fit:
            lone.append(report)
    orders += orders_of(lone)


def rows_of(person: Person) -> tuple[list[Row], list[list[Fact]]]:
    """A row per study of which images (or results) exist, with the orders that share a number with
    it; and the person's orders."""
    studies: dict[str, list[Fact]] = defaultdict(list)
    for fact in person.facts:
        event = fact.event
        if isinstance(event, SeriesReceived):
            studies[event.study_uid].append(fact)
        elif isinstance(event, FindingsMade):
            studies.setdefault(event.study_uid, [])
        elif isinstance(event, ExamProgressed) and event.status == "available":
            for n in event.numbers:
                if n.kind == "study":
                    studies.setdefault(n.value, [])
    rows = [Row(person, uid, images) for uid, images in studies.items()]
    exams = exams_of(person)
    for row in rows:
        for exam in exams:
            if any(n.kind == "study" and n.value == row.uid for f in exam for n in numbers(f)):
                row.others += exam
        row.others += [
            f
            for f in kind(person.facts, FindingsMade)
            if f.event.study_uid == row.uid  # type: ignore[union-attr]
        ]
    orders = orders_of(kind(person.facts, OrderChanged))
    place_reports(kind(person.facts, ReportReceived), orders, rows)
    for row in rows:
        row.orders = [order for order in orders if meet(order, row.study())]
    return rows, orders


def exams_of(person: Person) -> list[list[Fact]]:
    """Steps by their UID; an availability notice of a study is its own."""

    def uid(fact: Fact) -> set[str]:
        return {n.value for n in numbers(fact) if n.kind == "step"}

    return partition(kind(person.facts, ExamProgressed), lambda a, b: bool(uid(a) & uid(b)))


def rest_of(person: Person, rows: list[Row], orders: list[list[Fact]]) -> list[Row]:
    """Rows of what has no images: orders (those of one study UID together), then steps."""
    placed = {f.key for row in rows for f in row.others}
    lone = [o for o in orders if not any(o is other for row in rows for other in row.orders)]

    def one_study(a: int, b: int) -> bool:
        mine, theirs = (
            {n.value for f in lone[at] for n in numbers(f) if n.kind == "study"} for at in (a, b)
        )
        return bool(mine & theirs)

    for group in partition(range(len(lone)), one_study):
        rows.append(Row(person, "", [], [lone[n] for n in group]))
    known = [(row, row.facts) for row in rows]
    left: list[Fact] = []
    for exam in exams_of(person):
        if exam[0].key in placed:
            continue
        fit = [row for row, facts in known if meet(exam, facts)]
        for row in fit:
            row.others += exam
        left += [] if fit else exam
    for group in partition_facts(left):
        uids = [n.value for f in group for n in numbers(f) if n.kind == "study"]
        rows.append(Row(person, min(uids, default=""), [], [], group))
    return rows


def settled(one: Row, other: Row) -> bool:
    """Whether a person has said, of each order that makes two rows meet, whose it is."""
    words = [id(order) in other.said for order in one.orders]
    words += [id(order) in one.said for order in other.orders]
    return bool(words) and all(words)
