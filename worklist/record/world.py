"""What numbers join: within their authority, and not when too many name them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.events import Number
from worklist.record.facts import Fact, meet, number_node, pair_node
from worklist.record.groups import Groups

#: So many patients may name one number, and so many studies of one patient; more is a bad number.
MOST_PATIENTS = 12
MOST_STUDIES = 12


@dataclass(frozen=True)
class World:
    """What the facts at hand cannot say by themselves, because it is about all facts.

    Attributes:
        shared: nodes of numbers that more than `MOST_PATIENTS` patients name: they join only what
            states the very same patient number, and lend and mark nothing else.
        crowded: pair nodes of numbers that more studies of one patient name than the site allows:
            they join nothing.
        authorities: pseudonym of a patient number's value → the authorities that have it.
    """

    shared: frozenset[str] = frozenset()
    crowded: frozenset[str] = frozenset()
    authorities: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def nodes(self, fact: Fact) -> set[str]:
        """The nodes by which `fact` joins others: of a number, of it as its patient's, or none."""
        found = set()
        for number in fact.numbers:
            pairs = {pair_node(number, patient) for patient in fact.patients} - self.crowded
            if pairs:
                found |= {number_node(number)} if self._open(number) else pairs
        return found

    def _open(self, number: Number) -> bool:
        return number_node(number) not in self.shared

    def joins(self, one: Number, a: Fact, other: Number, b: Fact) -> bool:
        """Whether a number of `a` and one of `b` are one number, and may join what names it."""
        if not meet(one, other):
            return False
        mine, theirs = pair_node(one, a.patient), pair_node(other, b.patient)
        if mine in self.crowded or theirs in self.crowded:
            return False
        return mine == theirs or number_node(one) not in self.shared


def connected(members: Sequence[Fact], world: World) -> list[list[Fact]]:
    """The members that joining numbers connect."""
    groups = Groups(range(len(members)))
    named: dict[str, list[tuple[int, Number]]] = defaultdict(list)
    for place, fact in enumerate(members):
        for number in fact.numbers:
            named[number_node(number)].append((place, number))
    for meeting in named.values():
        _connect(meeting, members, groups, world)
    return [[members[place] for place in places] for places in groups.sets().values()]


def _connect(
    meeting: Sequence[tuple[int, Number]],
    members: Sequence[Fact],
    groups: Groups[int],
    world: World,
) -> None:
    """Joins who names one value: by authority first, so that many cost no more than a few."""
    firsts: dict[tuple[str, str], tuple[int, Number]] = {}
    for place, number in meeting:
        pair = pair_node(number, members[place].patient)
        who = pair if number_node(number) in world.shared or pair in world.crowded else ""
        first = firsts.setdefault((number.authority, who), (place, number))
        if world.joins(number, members[place], first[1], members[first[0]]):
            groups.join(place, first[0])
    kinds = list(firsts.values())
    for at, (place, number) in enumerate(kinds):
        for other_place, other in kinds[at + 1 :]:
            if world.joins(number, members[place], other, members[other_place]):
                groups.join(place, other_place)


def share(one: Iterable[Fact], other: Iterable[Fact], world: World) -> bool:
    """Whether some fact of one side names a number that joins a fact of the other."""
    others = [(number, fact) for fact in other for number in fact.numbers]
    return any(
        world.joins(number, fact, number_there, fact_there)
        for fact in one
        for number in fact.numbers
        for number_there, fact_there in others
    )
