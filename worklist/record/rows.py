"""A row: the facts that it holds, the members that name it, and what it borrows from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from worklist.record.acts import Acts
from worklist.record.facts import Fact
from worklist.record.orders import (
    Order,
    fact_member,
    joining_members,
    members_of,
    step_members,
    study_member,
)
from worklist.record.persons import Person, Split
from worklist.record.world import Holders, Names, World


@dataclass
class Related:
    """The facts of one row.

    Attributes:
        uid: of its study; empty: an order of which no image exists.
        lent: orders of somebody else that the study's numbers name, and whether each is certainly
            another patient's; those are left out while an order of its own is open.
        conflict: its numbers meet another person's.
        reused: a number of its patient was given to somebody else, or moved, in doubt.
        bad: marks for the numbers that it names and that too many name.
        said: identity of an order → ``link`` or ``unlink``: what a person said of it and the study.
        owned: member id → fact, of the members by which only this row is named.
        elsewhere: the series that came under another study.
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
    bad: frozenset[str] = frozenset()
    said: dict[int, str] = field(default_factory=dict)
    owned: dict[str, Fact] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()

    @property
    def facts(self) -> list[Fact]:
        """All facts of the row."""
        found = [*self.series, *self.steps, *self.findings]
        for order in self.orders:
            found += order.facts
        return found

    @property
    def hidden(self) -> bool:
        """Nothing but orders that are no imaging, by the rules of all who sent them: off the list
        until an image, a step, a finding, a report or a person's link brings it up, or a promote.
        """
        seen = self.series or self.steps or self.findings or self.said
        return not seen and all(order.not_imaging for order in self.orders)

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


def own_members(rows: Sequence[Related], world: World) -> None:
    """Gives each member to one row: to the only one, else to that whose images came first."""
    ranked = sorted(rows, key=_first_image)
    known = {id(order): order for row in rows for order in row.orders}
    joining = {key: joining_members(order, world) for key, order in known.items()}
    taken: set[str] = set()
    for row in ranked:
        row.owned = {m: f for m, f in row.study_members().items() if m not in taken}
        taken |= row.owned.keys()
    for row in ranked:
        for order in row.orders:
            fresh = {m: f for m, f in joining[id(order)].items() if m not in taken}
            row.owned |= fresh
            taken |= fresh.keys()
        if not row.owned:
            first = min(row.facts, key=lambda fact: (fact.received, fact.key))
            row.owned = {fact_member(first): first}


def _first_image(row: Related) -> tuple[bool, datetime, str, str, list[str]]:
    first = min(row.series or row.facts, key=lambda fact: (fact.received, fact.key))
    # Two orders' rows may have a step as their first.
    keys = sorted(fact.key for order in row.orders for fact in order.facts)
    return not row.series, first.received, row.uid, first.key, keys


def meet_others(
    rows: Sequence[Related], orders: Sequence[Order], people: Split, world: World
) -> None:
    """Marks rows whose numbers meet another person's, and lends them the orders that they name.

    A mark ends where a person has said, of each order that makes two rows meet, whose it is.
    """
    if len({row.person for row in rows}) < 2:
        return
    of_order = {id(order): Names(order.facts, world) for order in orders}
    named = []
    for row in rows:
        own = Names([*row.study_facts(), *row.findings], world)
        named.append((row, Names.united([own, *(of_order[id(o)] for o in row.orders)], world)))
    _mark(named, world)
    # An order that a person linked has found its study: it lends to no other.
    linked = {key for row in rows for key, word in row.said.items() if word == "link"}
    free: dict[Person, list[tuple[Names, Order]]] = {}
    for order in orders:
        if id(order) not in linked:
            free.setdefault(order.person, []).append((of_order[id(order)], order))
    lenders = {person: Holders(theirs, world) for person, theirs in free.items()}
    for row, wide in named:
        if row.uid:
            _lend(row, wide, lenders, people, world)


def _lend(
    row: Related, wide: Names, lenders: Mapping[Person, Holders[Order]], people: Split, world: World
) -> None:
    """Lends a row the orders of others that its numbers name.

    Args:
        wide: all its numbers. What is said of one of its orders without its patient may be its own,
            too.
        lenders: the orders that may be lent, of each person.
    """
    waits = any(order.state.open for order in row.orders)
    numbers = Names([fact for order in row.orders for fact in order.facts], world)
    mine = row.said.keys() | {id(order) for order in row.orders}
    study = Names(row.study_facts(), world)
    for person, theirs in lenders.items():
        if person == row.person:
            continue
        certain = people.certainly_two(person, row.person)
        # One number with two birth dates may be one patient: an order that names the number of one
        # of the row's is likely that order, with a corrected date that nobody has settled.
        one_number = certain and people.share_a_number(person, row.person)
        for order in theirs.met(study if certain else wide):
            own = one_number and numbers.meet(Names(order.said, world), "placer", "filler")
            if id(order) not in mine and (own or not (certain and waits)):
                row.lent.append((order, certain and not own))


def lend_crowded(
    rows: Sequence[Related], orders: Sequence[Order], acts: Acts, world: World
) -> None:
    """Lends rows the orders of the same patient number whose accession too many studies name.

    The number joins nothing, so that a report closes nothing by it; the urgency stays. Where birth
    dates differ it lends only to what has no open order of its own.
    """
    if not world.lending:
        return
    holding: dict[str, list[Order]] = {}
    for order in orders:
        for pair in {pair for fact in order.said for pair in world.lenders(fact)}:
            holding.setdefault(pair, []).append(order)
    refused = [(act.item, act.order) for act in acts.words() if act.act == "unlink"]
    for row in rows if holding else ():
        known = {id(order) for order in row.orders}
        for pair in sorted({pair for fact in row.facts for pair in world.lenders(fact)}):
            for order in holding.get(pair, ()):
                if id(order) in known or not row.uid or _of_two_authorities(order, row):
                    continue
                known.add(id(order))
                if any(item in row.owned and of in order.members for item, of in refused):
                    continue
                born = {order.person.born, row.person.born} - {""}
                row.lent.append((order, len(born) > 1))


def _of_two_authorities(order: Order, row: Related) -> bool:
    one, other = order.person.root, row.person.root
    stated = {root.authority for root in (one, other) if root} - {""}
    return len(stated) > 1


def _mark(named: Sequence[tuple[Related, Names]], world: World) -> None:
    rows_of: dict[Person, list[tuple[Names, Related]]] = {}
    for row, names in named:
        rows_of.setdefault(row.person, []).append((names, row))
    wide = {p: Names.united((n for n, _ in theirs), world) for p, theirs in rows_of.items()}
    people = Holders(((names, person) for person, names in wide.items()), world)
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
