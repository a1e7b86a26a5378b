"""Orders: which messages and reports speak of one, and by what ids its members are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from streams.events import ExamProgressed, Number, OrderChanged, ReportReceived, VersionKey
from worklist.record.facts import (
    Fact,
    accessions,
    node,
    number_node,
    order_numbers,
    stands,
    text_of,
    version_of,
)
from worklist.record.persons import Person, Split
from worklist.record.world import Name, Names, World, connected

_ENDS = frozenset({"cancelled", "replaced"})
#: What a corrected report replaces and covers is a final one: alone it closes nothing.
_FINAL = frozenset({"final", "corrected"})


@dataclass(frozen=True)
class OrderState:
    """Where one order stands.

    Attributes:
        report: ``preliminary``, ``final``, ``withdrawn`` or empty.
        covered: receipt of the newest final or corrected report, one that was withdrawn since
            too: it covers what came before.
        received: first receipt of the order.
        withdrawn: the report that withdrew it, and stands.
        cancelled_at: first receipt of the cancel that stands; a repeat is no new one.
        outcome_only: nobody sent the order, and its reports only correct or add.
    """

    status: str
    report: str
    covered: datetime | None
    received: datetime
    reported_at: datetime | None
    withdrawn: Fact | None = None
    cancelled_at: datetime | None = None
    outcome_only: bool = False

    @property
    def cancelled(self) -> bool:
        """The sender ended it."""
        return self.status in _ENDS

    @property
    def final(self) -> bool:
        """Its report is final."""
        return self.report == "final"

    @property
    def open(self) -> bool:
        """It still waits for somebody."""
        return not (self.cancelled or self.final or self.outcome_only)


@dataclass
class Order:
    """One imaging order: all that was said of it, its reports, and whose it is."""

    person: Person
    said: list[Fact] = field(default_factory=list)
    reports: list[Fact] = field(default_factory=list)

    @property
    def facts(self) -> list[Fact]:
        """All of them; a report is evidence of an order that nobody sent."""
        return [*self.said, *self.reports]

    @cached_property
    def state(self) -> OrderState:
        """Where it stands; asked only when its reports are placed."""
        return order_state(self)

    @cached_property
    def priorities(self) -> list[tuple[datetime, str]]:
        """What each source says of its priority, and since when."""
        return _priorities(self)

    @cached_property
    def members(self) -> dict[str, Fact]:
        """Member id → the fact that was received first."""
        return members_of(self.facts, order_members)


def order_state(order: Order) -> OrderState:
    """Where `order` stands.

    An addendum changes nothing, a correction of what was never final neither (only F closes).
    """
    kinds = {f.key: f.event.status for f in order.reports if isinstance(f.event, ReportReceived)}
    was_final = "final" in kinds.values()
    counted = [
        f
        for f in order.reports
        if kinds[f.key] != "addendum" and (was_final or kinds[f.key] != "corrected")
    ]
    status = stands(order.said, text_of("status"))
    told = stands(counted, text_of("status"))
    word = told[1] if told else ""
    covers = [f.received for f in counted if kinds[f.key] in _FINAL]
    return OrderState(
        status=status[1] if status else "",
        report="final" if word in _FINAL else word,
        covered=max(covers, default=None),
        received=min(f.received for f in order.facts),
        reported_at=told[0].received if told and word != "withdrawn" else None,
        withdrawn=told[0] if told and word == "withdrawn" else None,
        cancelled_at=_cancelled_at(order, status[0]) if status and status[1] in _ENDS else None,
        outcome_only=not order.said and not counted,
    )


def _cancelled_at(order: Order, winner: Fact) -> datetime:
    """First receipt of the cancels that its sender has said since it last said otherwise."""
    read, found = text_of("status"), winner.received
    sender = getattr(winner.event, "sender", "")
    mine = [f for f in order.said if getattr(f.event, "sender", "") == sender]
    for fact in sorted(mine, key=version_of, reverse=True):
        status = read(fact)
        if status is None:
            continue
        if status not in _ENDS:
            break
        found = min(found, fact.received)
    return found


def _priorities(order: Order) -> list[tuple[datetime, str]]:
    """What each source says of an order's priority, and since when; it lowers only its own."""
    told: dict[str, list[tuple[VersionKey, datetime, str]]] = defaultdict(list)
    for fact in order.said:
        event = fact.event
        assert isinstance(event, OrderChanged)
        code = "unknown" if "priority" in event.emptied else event.priority
        if code is not None:
            told[event.sender].append((event.version_key(), fact.received, code))
    found = []
    for versions in told.values():
        _, since, code = max(versions)
        for _, received, before in sorted(versions, reverse=True):
            if before != code:
                break
            since = min(since, received)
        found.append((since, code))
    return found


def orders_of(facts: Sequence[Fact], people: Split, world: World) -> list[Order]:
    """Orders: messages of one person that share an order number; without one, an accession."""
    return [
        Order(person, said)
        for person, mine in _by_person(facts, people).items()
        for said in _one_persons(mine, world)
    ]


def _by_person(facts: Iterable[Fact], people: Split) -> dict[Person, list[Fact]]:
    found: dict[Person, list[Fact]] = defaultdict(list)
    for fact in facts:
        found[people.of[fact.key]].append(fact)
    return found


def _one_persons(facts: Sequence[Fact], world: World) -> list[list[Fact]]:
    """The messages of each order of one person.

    By order number; what has none speaks of the only order of its accession, else for itself;
    what has neither, of the only one that names its study. What names nothing but an order number
    of several orders speaks of all of them.
    """
    several = _numbers_of_several(facts)

    def own(fact: Fact) -> list[Number]:
        return [n for n in order_numbers(fact.numbers) if number_node(n) not in several]

    def by_accession(fact: Fact) -> Sequence[Number]:
        return accessions(fact.numbers)

    found = connected([f for f in facts if own(f)], world, own)
    bare = [f for f in facts if not own(f)]
    named = [f for f in bare if by_accession(f)]
    found += _attach(connected(named, world, by_accession), found, world)
    unnamed = [f for f in bare if not by_accession(f)]
    return found + _attach(connected(unnamed, world), found, world)


def _attach(
    groups: Iterable[list[Fact]], orders: Sequence[list[Fact]], world: World
) -> list[list[Fact]]:
    """Gives each group to the order that it speaks of; returns those that speak for themselves."""
    known = [(order, Names(order, world)) for order in orders]
    alone: list[list[Fact]] = []
    for group in groups:
        names = Names(group, world)
        fit = [order for order, there in known if _same_order(names, there)]
        by_number = names.has("placer", "filler") and not names.has("accession")
        for order in fit if len(fit) == 1 or by_number else ():
            order.extend(group)
        if not fit or (len(fit) > 1 and not by_number):
            alone.append(group)
    return alone


def _same_order(one: Names, other: Names) -> bool:
    """By accession where both have one, else by any number."""
    if one.has("accession") and other.has("accession"):
        return one.meet(other, "accession")
    return one.meet(other)


def _numbers_of_several(facts: Sequence[Fact]) -> set[str]:
    """Order numbers under which one message has several orders: each with its own accession."""
    named: dict[tuple[str, str], list[set[str]]] = defaultdict(list)
    for fact in facts:
        digest = getattr(getattr(fact.event, "version", None), "digest", "")
        if values := {a.value for a in accessions(fact.stated)}:
            for number in order_numbers(fact.numbers):
                named[(number_node(number), digest)].append(values)
    return {
        number
        for (number, _), sets in named.items()
        if len(sets) > 1 and any(values.isdisjoint(sets[0]) for values in sets)
    }


def place_reports(
    facts: Sequence[Fact],
    orders: list[Order],
    studies: Sequence[tuple[Person, Names]],
    people: Split,
    world: World,
) -> None:
    """A report goes to the orders it names by number, else by accession, else by study UID.

    Else to the orders of the studies that it names (an image may know the number that the order
    does not), those left out that have another accession. Else it is evidence of an order of its
    own, that nobody sent. Appends to `orders`.

    Args:
        studies: of each study of a person all numbers that its images and steps name.
    """
    known = [(order, Names(order.said, world)) for order in orders]
    stray: list[Fact] = []
    for fact in facts:
        person, names = people.of[fact.key], Names([fact], world)
        mine = [(order, there) for order, there in known if order.person == person]
        near = [there for whose, there in studies if whose == person and names.meet(there)]
        fit = _named_by(names, mine) or _of_studies(names, near, mine)
        for order in fit:
            order.reports.append(fact)
        if not fit:
            stray.append(fact)
    for person, left in _by_person(stray, people).items():
        orders += [Order(person, [], reports) for reports in _one_persons(left, world)]


def _named_by(report: Names, orders: Iterable[tuple[Order, Names]]) -> list[Order]:
    for kinds in (("placer", "filler"), ("accession",), ("study",)):
        if fit := [order for order, names in orders if report.meet(names, *kinds)]:
            return fit
    return []


def _of_studies(
    report: Names, studies: Sequence[Names], orders: Iterable[tuple[Order, Names]]
) -> list[Order]:
    return [
        order
        for order, names in orders
        if any(names.meet(study) for study in studies)
        and not (report.has("accession") and names.has("accession"))
    ]


def order_members(fact: Fact) -> list[str]:
    """The member ids of an order by one of its messages: each of its numbers, as its patient's."""
    return [member for _, member in _named_members(fact)]


def _named_members(fact: Fact) -> list[tuple[Number, str]]:
    numbers = (*order_numbers(fact.numbers), *accessions(fact.numbers)) or fact.numbers
    return [(n, member_id("order", (n.kind, n.authority, n.value), fact)) for n in numbers]


def joining_members(order: Order, world: World) -> dict[str, Fact]:
    """The member ids of an order by the numbers that join something: what a bad number names is no
    one thing.
    """

    def ids(fact: Fact) -> list[str]:
        return [
            member
            for number, member in _named_members(fact)
            if not world.joins_nothing(Name(number, fact.patient))
        ]

    return members_of(order.facts, ids)


def study_member(uid: str, fact: Fact) -> str:
    """The member id of a study by one of its fragments or steps: its UID, as its patient's."""
    return member_id("study", (uid,), fact)


def fact_member(fact: Fact) -> str:
    """The id by which a row is known of which every other id is another row's."""
    return member_id("fact", (fact.key,), fact)


def step_members(fact: Fact) -> list[str]:
    """The member ids of a step: its UID, as its patient's; without one, each of its numbers."""
    if not isinstance(fact.event, ExamProgressed):
        return []
    steps = [n for n in fact.numbers if n.kind == "step"]
    return [member_id("step", (n.kind, n.authority, n.value), fact) for n in steps or fact.numbers]


def member_id(kind: str, names: tuple[str, ...], fact: Fact) -> str:
    """The id of what `names` name, as the patient's whom `fact` states."""
    patient = fact.patient
    who = (patient.authority, patient.value) if patient else ("", "")
    born = (fact.identity.birth_date or "") if fact.identity else ""
    return node("member", kind, *names, *who, born)[1:]


def members_of(facts: Iterable[Fact], ids: Callable[[Fact], Iterable[str]]) -> dict[str, Fact]:
    """Member id → the fact that was received first."""
    found: dict[str, Fact] = {}
    for fact in facts:
        for member in ids(fact):
            old = found.get(member)
            if old is None or (fact.received, fact.key) < (old.received, old.key):
                found[member] = fact
    return found
