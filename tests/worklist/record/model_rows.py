"""A plain model of orders and rows: which facts of one person stand on which row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streams.events import (
    ExamProgressed,
    FindingsMade,
    Number,
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


class Order(list[Fact]):
    """The facts of one order; `wide`: keys of those that speak of several orders."""

    wide: frozenset[str] = frozenset()


def with_wide(orders: list[list[Fact]]) -> list[list[Fact]]:
    found: list[list[Fact]] = []
    for facts in orders:
        order = Order(facts)
        order.wide = frozenset(
            f.key
            for f in facts
            if (requisition_alone(f) or not has(f, "placer", "filler"))
            and sum(f in other for other in orders) > 1
            and (isinstance(f.event, OrderChanged) or requisition_alone(f))
        )
        found.append(order)
    return found


def has(fact: Fact, *kinds: str) -> bool:
    """What it states; an accession of its order number's value is the door's, and says nothing."""
    own = {n.value for n in numbers(fact) if n.kind in ("placer", "filler")}
    return any(
        n.kind in kinds and (n.kind != "accession" or n.value not in own) for n in numbers(fact)
    )


def near(one: Iterable[Fact], other: Iterable[Fact], *kinds: str) -> bool:
    """Whether a number of these kinds (all, if none is given) is on both sides."""
    there = {n for fact in other for n in numbers(fact)}
    return any(
        same(a, b)
        for fact in one
        for a in numbers(fact)
        for b in there
        if not kinds or a.kind in kinds
    )


def states(facts: Iterable[Fact], kind_: str) -> bool:
    return any(has(fact, kind_) for fact in facts)


def requisition_alone(fact: Fact) -> bool:
    """It names order numbers and nothing narrower than they are."""
    return not has(fact, "accession", "study")


def orders_of(facts: list[Fact]) -> list[list[Fact]]:
    """One person's orders.

    By filler number; else by accession (else by study UID) within the requisition, else all of it.
    What has no order number is of all orders of its accession, else of its UID.
    """

    def of(*kinds: str) -> Callable[[Fact, Fact], bool]:
        return lambda a, b: near([a], [b], *kinds)

    def close(kind_: str) -> Callable[[Fact, Fact], bool]:
        """By a number that both state."""
        return lambda a, b: any(
            same(x, y) and not own(a, x) and not own(b, y)
            for x in numbers(a)
            for y in numbers(b)
            if x.kind == kind_
        )

    def own(fact: Fact, n: Number) -> bool:
        orders = {m.value for m in numbers(fact) if m.kind in number}
        return n.kind == "accession" and n.value in orders

    number = ("placer", "filler")
    found = partition([f for f in facts if has(f, "filler")], of("filler"))
    rest = [f for f in facts if not has(f, "filler")]
    under = [f for f in rest if has(f, "placer")]
    for narrower in ("accession", "study"):
        before = [(order, list(order)) for order in found]
        guesses: list[tuple[list[Fact], list[Fact]]] = []
        lone: list[list[Fact]] = []
        alike = partition([f for f in under if has(f, narrower)], close(narrower))
        for group in [part for each in alike for part in partition(each, of(*number))]:
            mine = [(order, said) for order, said in before if near(group, said, *number)]
            agree = [order for order, said in mine if near(group, said, narrower)]
            silent = [order for order, said in mine if not states(said, narrower)]
            if not mine and narrower == "accession":
                silent = [order for order, said in before if complements(group, said)]
            for order in agree:
                order.extend(group)
            if not agree and len(silent) == 1:
                guesses.append((silent[0], group))
            elif not agree:
                lone.append(group)
        for order, group in guesses:
            if sum(order is other for other, _ in guesses) == 1:
                order.extend(group)
            else:
                lone.append(group)
        found += corrected(lone, found) if narrower == "accession" else lone
        under = [f for f in under if not has(f, narrower)]
    before = [(order, list(order)) for order in found]
    for group in partition(under, of(*number)):
        mine = [(order, said) for order, said in before if near(group, said, *number)]
        for order, _ in mine:
            order.extend(group)
        found += [] if mine else [group]
    rest = [f for f in rest if not has(f, "placer")]
    for part, alike_in in (
        ([f for f in rest if has(f, "accession")], of("accession")),
        ([f for f in rest if not has(f, "accession")], of()),
    ):
        before = [(order, list(order)) for order in found]
        for group in partition(part, alike_in):
            both = [s for _, s in before if states(group, "accession") and states(s, "accession")]
            fit = [
                order
                for order, said in before
                if near(group, said, *(("accession",) if said in both else ()))
            ]
            for order in fit:
                order.extend(group)
            found += [] if fit else [group]
    return found


def complements(placed: list[Fact], filled: list[Fact]) -> bool:
    """The placer's and the filler's word of one order, by the accession alone."""
    if states(filled, "placer") or not states(filled, "filler"):
        return False
    both = states(placed, "study") and states(filled, "study")
    return near(placed, filled, "accession") and (not both or near(placed, filled, "study"))


def corrected(groups: list[list[Fact]], orders: list[list[Fact]]) -> list[list[Fact]]:
    """What only changes an order is of the only one of its requisition."""

    def changes(group: list[Fact]) -> bool:
        return all(isinstance(f.event, OrderChanged) and f.event.changes for f in group)

    alone = [group for group in groups if not changes(group)]
    before = [(order, list(order)) for order in [*orders, *alone]]
    for group in groups:
        if changes(group):
            fit = [order for order, said in before if near(group, said, "placer", "filler")]
            fit[0].extend(group) if len(fit) == 1 else alone.append(group)
    return alone


def place_reports(reports: list[Fact], orders: list[list[Fact]], rows: list[Row]) -> None:
    """A report is its orders', by number, else accession, else UID, else of the study that it
    names; what else it states narrows. Else it is evidence of an order that nobody sent."""
    sent = [(order, list(order)) for order in orders]
    lone = []
    for report in reports:
        fit = by_number(report, sent) or by(report, sent, "accession") or by(report, sent, "study")
        if not fit:
            close = [row.study() for row in rows if meet([report], row.study())]
            close = [study for study in close if not apart([report], study)]
            fit = [
                (order, said)
                for order, said in sent
                if any(meet(said, study) for study in close)
                and not (has(report, "accession") and states(said, "accession"))
                and not apart([report], said)
            ]
        for order, _ in fit:
            order.append(report)
        if not fit:
            lone.append(report)
    orders += orders_of(lone)


Sent = list[tuple[list[Fact], list[Fact]]]


def agreeing(report: Fact, orders: Sent, kind_: str) -> Sent:
    """Those that the report names; else the only one that may have such a number."""
    if not has(report, kind_):
        return orders
    silent = [pair for pair in orders if not states(pair[1], kind_)]
    named = [pair for pair in orders if near([report], pair[1], kind_)]
    return named or (silent if len(silent) == 1 else [])


def by_number(report: Fact, orders: Sent) -> Sent:
    fit = [pair for pair in orders if near([report], pair[1], "placer", "filler")]
    sure = any(near([report], said, "filler") for _, said in fit)
    fit = agreeing(report, agreeing(report, fit, "filler"), "accession")
    return agreeing(report, fit, "study") or (fit if sure else [])


def by(report: Fact, orders: Sent, kind_: str) -> Sent:
    fit = [pair for pair in orders if near([report], pair[1], kind_)]
    if any(near([report], said, "filler") for _, said in orders):
        fit = agreeing(report, fit, "filler")
    fit = agreeing(report, fit, "accession")
    return agreeing(report, fit, "study") or fit


def apart(one: list[Fact], other: list[Fact]) -> bool:
    """Another filler number or accession, and neither an accession nor a UID in common."""
    if near(one, other, "accession", "study"):
        return False
    return any(
        states(one, kind_) and states(other, kind_) and not near(one, other, kind_)
        for kind_ in ("filler", "accession")
    )


def of_study(study: list[Fact], orders: list[list[Fact]]) -> list[list[Fact]]:
    """The orders that share a number with it; not those of the requisition that are another's."""
    met = [order for order in orders if meet(order, study)]
    sure = any(near(order, study, "accession", "study") for order in met)
    return [order for order in met if not sure or not apart(order, study)]


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
            row.others += of_one_study(exam, row.uid) if row.uid in studies_of(exam) else []
        row.others += [
            f
            for f in kind(person.facts, FindingsMade)
            if f.event.study_uid == row.uid  # type: ignore[union-attr]
        ]
    orders = orders_of(kind(person.facts, OrderChanged))
    place_reports(kind(person.facts, ReportReceived), orders, rows)
    orders = with_wide(orders)
    for row in rows:
        row.orders = of_study(row.study(), orders)
    return rows, orders


def exams_of(person: Person) -> list[list[Fact]]:
    """Steps by their UID; an availability notice of a study is its own."""

    def uid(fact: Fact) -> set[str]:
        return {n.value for n in numbers(fact) if n.kind == "step"}

    def notice(fact: Fact) -> bool:
        status = fact.event.status if isinstance(fact.event, ExamProgressed) else ""
        return status == "available" and any(n.kind == "study" for n in numbers(fact))

    said = kind(person.facts, ExamProgressed)
    steps = partition([f for f in said if not notice(f)], lambda a, b: bool(uid(a) & uid(b)))
    return [*steps, *([f] for f in said if notice(f))]


def studies_of(said: list[Fact]) -> set[str]:
    return {n.value for f in said for n in numbers(f) if n.kind == "study"}


def of_one_study(exam: list[Fact], uid: str) -> list[Fact]:
    """What an exam says of one study: not what names another one alone."""
    return [f for f in exam if not studies_of([f]) or uid in studies_of([f])]


def rest_of(person: Person, rows: list[Row], orders: list[list[Fact]]) -> list[Row]:
    """Rows of what has no images: orders (those of one study UID together), then steps."""
    with_images = list(rows)
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
    wanted = ("accession", "placer", "filler", "study")
    for exam in exams_of(person):
        for uid in sorted(studies_of(exam)) or [""]:
            part = of_one_study(exam, uid)
            if any(row.uid == uid for row in with_images):
                continue
            fit = [row for row, facts in known if near(part, facts, *wanted)]
            for row in fit:
                row.others += [f for f in part if f not in row.others]
            left += [] if fit else [f for f in part if f not in left]
    for group in partition_facts(left):
        uids = [n.value for f in group for n in numbers(f) if n.kind == "study"]
        rows.append(Row(person, min(uids, default=""), [], [], group))
    return rows


def settled(one: Row, other: Row) -> bool:
    """Whether a person has said, of each order that makes two rows meet, whose it is."""
    words = [id(order) in other.said for order in one.orders]
    words += [id(order) in one.said for order in other.orders]
    return bool(words) and all(words)
