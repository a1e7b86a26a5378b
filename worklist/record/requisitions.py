"""Which messages and reports speak of one order: a placer number may be of a whole requisition.

A filler number, an accession or a study UID says which order of the requisition is meant: what
differs in it is another order. A message that names the requisition alone, or the accession alone,
speaks of all its orders; of several it ends none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from streams.events import Number, OrderChanged
from worklist.record.facts import Fact, accessions, number_node, order_numbers
from worklist.record.orders import Order
from worklist.record.persons import Person, Split
from worklist.record.world import Names, World, connected

_Known = Sequence[tuple[list[Fact], Names]]
_Orders = list[tuple[Order, Names]]


def orders_of(facts: Sequence[Fact], people: Split, world: World) -> list[Order]:
    """The orders that these messages speak of, each one person's."""
    return [
        Order(person, said, wide=wide)
        for person, mine in _by_person(facts, people).items()
        for said, wide in _one_persons(mine, world)
    ]


def _by_person(facts: Iterable[Fact], people: Split) -> dict[Person, list[Fact]]:
    found: dict[Person, list[Fact]] = defaultdict(list)
    for fact in facts:
        found[people.of[fact.key]].append(fact)
    return found


def _one_persons(facts: Sequence[Fact], world: World) -> list[tuple[list[Fact], frozenset[str]]]:
    """The messages of each order of one person, and which of them speak of several orders at once.

    By filler number; of the rest what has a requisition number by the accession under it, by the
    study UID, else of all orders of the requisition. What has no order number speaks of all orders
    of its accession, else for itself; what has neither, of all that name its study.
    """
    several = _numbers_of_several(facts)

    def fillers(fact: Fact) -> list[Number]:
        return [n for n in fact.numbers if n.kind == "filler" and number_node(n) not in several]

    found = connected([fact for fact in facts if fillers(fact)], world, fillers)
    rest = [fact for fact in facts if not fillers(fact)]
    ordered = [fact for fact in rest if order_numbers(fact.numbers)]
    for kind in ("accession", "study"):
        named = [fact for fact in ordered if _names(fact, kind)]
        alike = connected(named, world, partial(_names, kind=kind))
        groups = [part for group in alike for part in connected(group, world, _order_numbers)]
        alone = _narrow(groups, found, kind, world)
        found += _corrections(alone, found, world) if kind == "accession" else alone
        ordered = [fact for fact in ordered if not _names(fact, kind)]
    found += _all_of_requisition(connected(ordered, world, _order_numbers), found, world)
    bare = [fact for fact in rest if not order_numbers(fact.numbers)]
    with_accession = [fact for fact in bare if accessions(fact.numbers)]
    found += _attach(
        connected(with_accession, world, lambda fact: accessions(fact.numbers)), found, world
    )
    without = [fact for fact in bare if not accessions(fact.numbers)]
    found += _attach(connected(without, world), found, world)
    return _with_wide(found)


def _order_numbers(fact: Fact) -> tuple[Number, ...]:
    return order_numbers(fact.numbers)


def _names(fact: Fact, kind: str) -> tuple[Number, ...]:
    return tuple(number for number in fact.narrowing if number.kind == kind)


def _named(orders: Iterable[list[Fact]], world: World) -> _Known:
    return [(order, Names(order, world)) for order in orders]


def _narrow(
    groups: Sequence[list[Fact]], orders: Sequence[list[Fact]], kind: str, world: World
) -> list[list[Fact]]:
    """Gives each group to the orders of its requisition that it agrees with in `kind`.

    Where none does, to the only one that states no such number, if no other group could be that
    one's too. A group that shares an accession alone with the filler's order is the placer's word
    of that, if that has no placer number and no other group could be it. Returns those that are
    orders of their own.
    """
    known = _named(orders, world) if groups else []
    alone: list[list[Fact]] = []
    guessed: dict[int, list[list[Fact]]] = defaultdict(list)
    places: dict[int, list[Fact]] = {id(order): order for order, _ in known}
    for group in groups:
        names = Names(group, world)
        near = [(o, there) for o, there in known if names.meet(there, "placer", "filler")]
        fit = [order for order, there in near if names.meet(there, kind)]
        silent = [order for order, there in near if not there.states(kind)]
        if not near and kind == "accession":
            silent = [order for order, there in known if _complements(names, there)]
        if fit:
            for order in fit:
                order.extend(group)
        elif len(silent) == 1:
            guessed[id(silent[0])].append(group)
        else:
            alone.append(group)
    for place, candidates in guessed.items():
        if len(candidates) == 1:
            places[place].extend(candidates[0])
        else:
            alone += candidates
    return alone


def _complements(placed: Names, filled: Names) -> bool:
    """Whether one may be the placer's and the other the filler's word of one order."""
    apart = placed.has("study") and filled.has("study") and not placed.meet(filled, "study")
    mine = filled.has("filler") and not filled.has("placer")
    return mine and placed.meet(filled, "accession") and not apart


def _corrections(
    groups: Sequence[list[Fact]], orders: Sequence[list[Fact]], world: World
) -> list[list[Fact]]:
    """Gives what only changes an order to the only one of its requisition: its accession was
    corrected. Returns the others.
    """
    alone = [group for group in groups if not _only_changes(group)]
    if len(alone) == len(groups):
        return alone
    known = _named([*orders, *alone], world)
    for group in groups:
        if _only_changes(group):
            names = Names(group, world)
            fit = [order for order, there in known if names.meet(there, "placer", "filler")]
            if len(fit) == 1:
                fit[0].extend(group)
            else:
                alone.append(group)
    return alone


def _only_changes(group: Iterable[Fact]) -> bool:
    return all(isinstance(fact.event, OrderChanged) and fact.event.changes for fact in group)


def _all_of_requisition(
    groups: Sequence[list[Fact]], orders: Sequence[list[Fact]], world: World
) -> list[list[Fact]]:
    """Gives each group to all orders of its requisition; returns those of which none is known."""
    known = _named(orders, world) if groups else []
    alone: list[list[Fact]] = []
    for group in groups:
        names = Names(group, world)
        fit = [order for order, there in known if names.meet(there, "placer", "filler")]
        for order in fit:
            order.extend(group)
        alone += [] if fit else [group]
    return alone


def _attach(
    groups: Sequence[list[Fact]], orders: Sequence[list[Fact]], world: World
) -> list[list[Fact]]:
    """Gives each group to all orders that it can speak of; returns the others."""
    known = _named(orders, world) if groups else []
    alone: list[list[Fact]] = []
    for group in groups:
        names = Names(group, world)
        fit = [order for order, there in known if _same_order(names, there)]
        for order in fit:
            order.extend(group)
        alone += [] if fit else [group]
    return alone


def _same_order(one: Names, other: Names) -> bool:
    """By accession where both state one, else by any number."""
    if one.states("accession") and other.states("accession"):
        return one.meet(other, "accession")
    return one.meet(other)


def _with_wide(orders: Sequence[list[Fact]]) -> list[tuple[list[Fact], frozenset[str]]]:
    times: dict[str, int] = defaultdict(int)
    for order in orders:
        for fact in order:
            times[fact.key] += 1
    return [
        (order, frozenset(f.key for f in order if times[f.key] > 1 and _names_no_order(f)))
        for order in orders
    ]


def _names_no_order(fact: Fact) -> bool:
    """Whether it names the requisition alone, or is an order's message without order number."""
    bare = isinstance(fact.event, OrderChanged) and not order_numbers(fact.numbers)
    return bare or _names_requisition(fact)


def _names_requisition(fact: Fact) -> bool:
    """Whether it names nothing but order numbers."""
    return not any(number.kind in ("accession", "study") for number in fact.narrowing)


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
    """A report goes to the orders it names by number, else by accession, else by study UID; in each
    of these to those alone that nothing else in it speaks against.

    Else to the orders of the studies that it names (an image may know the number that the order
    does not), those left out that have another accession. Else it is evidence of an order of its
    own, that nobody sent. Appends to `orders`.

    Args:
        studies: of each study of a person all numbers that its images and steps name.
    """
    known = [(order, Names(order.said, world)) for order in orders] if facts else []
    stray: list[Fact] = []
    for fact in facts:
        person, names = people.of[fact.key], Names([fact], world)
        mine = [(order, there) for order, there in known if order.person == person]
        near = [there for whose, there in studies if whose == person and names.meet(there)]
        fit = _named_by(names, mine) or _of_studies(names, near, mine)
        for order in fit:
            order.reports.append(fact)
            if len(fit) > 1 and _names_requisition(fact):
                order.wide |= {fact.key}
        if not fit:
            stray.append(fact)
    for person, left in _by_person(stray, people).items():
        orders += [
            Order(person, [], reports, wide=wide) for reports, wide in _one_persons(left, world)
        ]


def _named_by(report: Names, orders: _Orders) -> list[Order]:
    for fit in (
        _by_order_number(report, orders),
        _by_kind(report, orders, "accession"),
        _by_kind(report, orders, "study"),
    ):
        if fit:
            return [order for order, _ in fit]
    return []


def _by_order_number(report: Names, orders: _Orders) -> _Orders:
    fit = [(o, names) for o, names in orders if report.meet(names, "placer", "filler")]
    by_filler = any(report.meet(names, "filler") for _, names in fit)
    for kind in ("filler", "accession"):
        fit = _agreeing(report, fit, kind)
    studies = _agreeing(report, fit, "study")
    return studies or (fit if by_filler else [])


def _by_kind(report: Names, orders: _Orders, kind: str) -> _Orders:
    """By accession or study UID. A filler number that no order has may be the report's own."""
    fit = [(order, names) for order, names in orders if report.meet(names, kind)]
    if any(report.meet(names, "filler") for _, names in orders):
        fit = _agreeing(report, fit, "filler")
    fit = _agreeing(report, fit, "accession")
    return _agreeing(report, fit, "study") or fit


def _agreeing(report: Names, orders: _Orders, kind: str) -> _Orders:
    """Those that the report names by `kind`; else the only one that states no such number."""
    if not report.states(kind):
        return orders
    met = [(order, names) for order, names in orders if report.meet(names, kind)]
    silent = [(order, names) for order, names in orders if not names.states(kind)]
    return met or (silent if len(silent) == 1 else [])


def _of_studies(report: Names, studies: Sequence[Names], orders: _Orders) -> list[Order]:
    near = [study for study in studies if not contradicts(report, study)]
    return [
        order
        for order, names in orders
        if any(names.meet(study) for study in near)
        and not (report.states("accession") and names.states("accession"))
        and not contradicts(report, names)
    ]


def contradicts(one: Names, other: Names) -> bool:
    """Whether what shares at most a requisition number is told apart by filler or accession."""
    if one.meet(other, "accession") or one.meet(other, "study"):
        return False
    return any(
        one.states(kind) and other.states(kind) and not one.meet(other, kind)
        for kind in ("filler", "accession")
    )


def orders_of_study(study: Names, orders: Iterable[tuple[Order, Names]]) -> list[Order]:
    """The orders that share a number with a study.

    Where some are named by accession or UID, those that share a requisition number alone and have
    another filler number or accession are left out.
    """
    met = [(order, names) for order, names in orders if names.meet(study)]
    sure = any(names.meet(study, "accession", "study") for _, names in met)
    return [order for order, names in met if not (sure and contradicts(names, study))]
