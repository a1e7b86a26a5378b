"""Orders: which messages and reports speak of one, and by what ids its members are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from streams.events import OrderChanged
from worklist.record.facts import Fact, accessions, node, number_node, order_numbers
from worklist.record.groups import Groups
from worklist.record.persons import Person, Split
from worklist.record.world import World, share


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

    def members(self) -> dict[str, Fact]:
        """Member id → the fact that was received first."""
        return members_of(self.facts, order_members)


def orders_of(facts: Sequence[Fact], people: Split, world: World) -> list[Order]:
    """Orders: messages of one person that share an order number; without one, an accession."""
    split_numbers = _numbers_of_several(facts)
    groups = Groups(range(len(facts)))
    for at, fact in enumerate(facts):
        for other in range(at):
            if people.of[fact.key] == people.of[facts[other].key] and _one_order(
                fact, facts[other], split_numbers, world
            ):
                groups.join(at, other)
    made = [
        Order(people.of[facts[places[0]].key], [facts[place] for place in places])
        for places in groups.sets().values()
    ]
    return _with_bare_accessions(made, world)


def _numbers_of_several(facts: Sequence[Fact]) -> set[str]:
    """Order numbers under which one message names several accessions: each is an order."""
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in facts:
        assert isinstance(fact.event, OrderChanged)
        for number in order_numbers(fact.numbers):
            key = (number_node(number), fact.event.version.digest)
            named[key] |= {a.value for a in accessions(fact.event.numbers)}
    return {number for (number, _), values in named.items() if len(values) > 1}


def _one_order(one: Fact, other: Fact, several: Collection[str], world: World) -> bool:
    for number in order_numbers(one.numbers):
        for there in order_numbers(other.numbers):
            if not world.joins(number, one, there, other):
                continue
            if number_node(number) not in several:
                return True
            mine, theirs = accessions(one.numbers), accessions(other.numbers)
            if any(world.joins(a, one, b, other) for a in mine for b in theirs):
                return True
    return False


def _with_bare_accessions(orders: Sequence[Order], world: World) -> list[Order]:
    """A message without order number speaks of the only order of its accession, else for itself."""
    bare = [o for o in orders if not any(order_numbers(f.numbers) for f in o.said)]
    numbered = [(o, list(o.said)) for o in orders if o not in bare]
    own: list[Order] = []
    for order in bare:
        fit = [
            other
            for other, said in numbered
            if other.person == order.person and share(order.said, said, world)
        ]
        (fit[0].said.extend(order.said) if len(fit) == 1 else own.append(order))
    groups = Groups(range(len(own)))
    for at, order in enumerate(own):
        for before in range(at):
            if order.person == own[before].person and share(order.said, own[before].said, world):
                groups.join(at, before)
    for places in groups.sets().values():
        said = [fact for place in places for fact in own[place].said]
        numbered.append((Order(own[places[0]].person, said), said))
    return [order for order, _ in numbered]


def place_reports(facts: Sequence[Fact], orders: list[Order], people: Split, world: World) -> None:
    """A report goes to the orders it names by number, else by accession, else by study UID."""
    stray: list[Fact] = []
    for fact in facts:
        mine = [order for order in orders if order.person == people.of[fact.key]]
        for kinds in (("placer", "filler"), ("accession",), ("study",)):
            fit = [order for order in mine if _named_by(fact, kinds, order, world)]
            if fit:
                break
        for order in fit:
            order.reports.append(fact)
        if not fit:
            stray.append(fact)
    groups = Groups(range(len(stray)))
    for at, fact in enumerate(stray):
        for other in range(at):
            if people.of[fact.key] == people.of[stray[other].key] and share(
                [fact], [stray[other]], world
            ):
                groups.join(at, other)
    for places in groups.sets().values():
        reports = [stray[place] for place in places]
        orders.append(Order(people.of[reports[0].key], [], reports))


def _named_by(report: Fact, kinds: Sequence[str], order: Order, world: World) -> bool:
    return any(
        world.joins(number, report, there, said)
        for number in report.numbers
        if number.kind in kinds
        for said in order.said
        for there in said.numbers
    )


def order_members(fact: Fact) -> list[str]:
    """The member ids of an order by one of its messages: each of its numbers, as its patient's."""
    numbers = (*order_numbers(fact.numbers), *accessions(fact.numbers)) or fact.numbers
    return [member_id("order", (n.kind, n.authority, n.value), fact) for n in numbers]


def study_member(uid: str, fact: Fact) -> str:
    """The member id of a study by one of its fragments or steps: its UID, as its patient's."""
    return member_id("study", (uid,), fact)


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
