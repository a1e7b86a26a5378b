"""What numbers join: within their authority, and not when too many name them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from streams.events import Number
from worklist.record.facts import (
    Fact,
    Name,
    island_node,
    may_be_one,
    meet,
    number_node,
    pair_node,
)
from worklist.record.groups import Groups

#: So many patients may name one number; more is a bad number. How many studies of one patient may,
#: the site's policy says.
MOST_PATIENTS = 12
#: A number of so many studies of one patient joins nothing any more, and still lends the urgency of
#: that patient's orders to them: some device makes a study of each image.
MOST_LENT = 100


@dataclass(frozen=True)
class World:
    """What the facts at hand cannot say by themselves, because it is about all facts.

    Attributes:
        shared: nodes of numbers that more than `MOST_PATIENTS` patients name: they join only what
            states the very same patient number, and lend and mark nothing else.
        crowded: pair nodes of numbers that more studies of one patient name than the site allows:
            they join nothing.
        lending: those of the crowded ones that at most `MOST_LENT` studies name.
        authorities: pseudonym of a patient number's value → the authorities that have it.
    """

    shared: frozenset[str] = frozenset()
    crowded: frozenset[str] = frozenset()
    lending: frozenset[str] = frozenset()
    authorities: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def nodes(self, fact: Fact) -> Set[str]:
        """The nodes by which `fact` joins others: of a number, or of it as its patient's; its own
        where none does.
        """
        if self.shared.isdisjoint(fact.nodes) and self.crowded.isdisjoint(fact.nodes):
            return fact.joining
        found = set()
        for number in fact.numbers:
            names = [Name(number, patient) for patient in fact.patients]
            known = [name for name in names if not self.joins_nothing(name)]
            if self.is_shared(number):
                found |= {pair_node(*name) for name in known}
            elif known:
                found.add(number_node(number))
        return found or {island_node(fact)}

    def lenders(self, fact: Fact) -> set[str]:
        """The pair nodes of `fact` by which urgency is lent though they join nothing."""
        if not self.lending or fact.patient is None:
            return set()
        return {pair_node(number, fact.patient) for number in fact.numbers} & self.lending

    def joins(self, one: Name, other: Name) -> bool:
        """Whether two named numbers are one number, and may join what names them."""
        if not meet(one.number, other.number) or self.joins_nothing(one):
            return False
        if self.joins_nothing(other):
            return False
        return not self.is_shared(one.number) or may_be_one(one.patient, other.patient)

    def is_shared(self, number: Number) -> bool:
        """Whether too many patients name it."""
        return bool(self.shared) and number_node(number) in self.shared

    def marks(self, facts: Iterable[Fact]) -> frozenset[str]:
        """What a reader has to know of the numbers that these name: an order may stand apart."""
        if not self.shared and not self.crowded:
            return frozenset()
        names = {Name(number, fact.patient) for fact in facts for number in fact.numbers}
        found = {"shared_number"} if any(self.is_shared(name.number) for name in names) else set()
        if self.crowded and any(pair_node(*name) in self.crowded for name in names):
            found.add("crowded_number")
        return frozenset(found)

    def joins_nothing(self, name: Name) -> bool:
        """Whether too many studies of one patient name it; a shared one without patient, too."""
        if self.is_shared(name.number) and name.patient is None:
            return True
        return bool(self.crowded) and pair_node(*name) in self.crowded


def all_numbers(fact: Fact) -> Iterable[Number]:
    """Every joining number of `fact`."""
    return fact.numbers


def connected(
    members: Sequence[Fact],
    world: World,
    numbers: Callable[[Fact], Iterable[Number]] = all_numbers,
) -> list[list[Fact]]:
    """The members that joining numbers (those that `numbers` reads) connect, in given order."""
    if len(members) < 2:
        return [[fact] for fact in members]
    groups = Groups(range(len(members)))
    # Of each value, who first named it: by authority, and where the number is shared by patient,
    # so that many who name one number cost no more than as many that name different ones.
    firsts: dict[tuple[str, str, str | None], dict[str, tuple[int, Name]]] = defaultdict(dict)
    for place, fact in enumerate(members):
        for number in numbers(fact):
            name = Name(number, fact.patient)
            if world.joins_nothing(name):
                continue
            who = fact.patient.value if fact.patient and world.is_shared(number) else None
            kin = firsts[(number.kind, number.value, who)]
            first, _ = kin.setdefault(number.authority, (place, name))
            groups.join(place, first)
    for kin in firsts.values():
        known = list(kin.values())
        for at, (place, name) in enumerate(known):
            for other_place, other in known[at + 1 :]:
                if meet(name.number, other.number):
                    groups.join(place, other_place)
    return [[members[place] for place in places] for places in groups.sets().values()]


Holder = TypeVar("Holder")


class Names:
    """The joining numbers of some facts, found by their value."""

    def __init__(self, facts: Iterable[Fact], world: World) -> None:
        self._world = world
        self._by_value: dict[tuple[str, str], set[Name]] = defaultdict(set)
        self._stated: set[str] = set()
        for fact in facts:
            for name in fact.names:
                if not world.joins_nothing(name):
                    self._by_value[(name.number.kind, name.number.value)].add(name)
                    if name.number in fact.narrowing:
                        self._stated.add(name.number.kind)

    @classmethod
    def united(cls, parts: Iterable[Names], world: World) -> Names:
        """All that these name."""
        found = cls((), world)
        for part in parts:
            for value, names in part._by_value.items():
                found._by_value[value] |= names
            found._stated |= part._stated
        return found

    def each(self) -> Iterable[tuple[tuple[str, str], Name]]:
        """Each, with its kind and value: what meets has these in common."""
        return ((value, name) for value, names in self._by_value.items() for name in names)

    def meet(self, other: Names, *kinds: str) -> bool:
        """Whether a number of these kinds (all, if none is given) joins the two sides."""
        return any(
            self._world.joins(mine, theirs)
            for value in self._by_value.keys() & other._by_value.keys()
            if not kinds or value[0] in kinds
            for mine in self._by_value[value]
            for theirs in other._by_value[value]
        )

    def has(self, *kinds: str) -> bool:
        """Whether a number of these kinds is named."""
        return any(kind in kinds for kind, _ in self._by_value)

    def states(self, kind: str) -> bool:
        """The same, where that says more than the order number beside it."""
        return kind in self._stated


class Holders(Generic[Holder]):
    """Who holds what numbers: found by number, so that nobody is compared with everybody."""

    def __init__(self, known: Iterable[tuple[Names, Holder]], world: World) -> None:
        self._world = world
        self._by_value: dict[tuple[str, str], dict[Name, list[Holder]]] = defaultdict(dict)
        for names, holder in known:
            for value, name in names.each():
                self._by_value[value].setdefault(name, []).append(holder)

    def met(self, names: Names) -> Iterator[Holder]:
        """Those of whom a number joins one of `names`, each once."""
        seen: set[int] = set()
        for value, name in names.each():
            for theirs, holders in self._by_value.get(value, {}).items():
                if self._world.joins(name, theirs):
                    for holder in holders:
                        if id(holder) not in seen:
                            seen.add(id(holder))
                            yield holder
