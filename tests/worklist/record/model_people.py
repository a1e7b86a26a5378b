"""A plain model of who is who: half of the oracle of the record's property tests.

Slow and simple on purpose, written from the rules in words and not from the code that it judges.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import TypeVar

from streams.events import (
    ActDone,
    ExamProgressed,
    FindingsMade,
    Number,
    PatientChanged,
    PatientMerged,
    SeriesReceived,
)
from worklist.record.facts import Fact

SETTLING = {"A01", "A04", "A05", "A08", "A28", "A31"}
JOINING = {"accession", "placer", "filler", "study", "step"}

#: An authority (empty: open), a value, and which of the number's successive owners.
Who = tuple[str, str, int]


Thing = TypeVar("Thing", bound=Hashable)


def partition(
    things: Iterable[Thing], together: Callable[[Thing, Thing], bool]
) -> list[list[Thing]]:
    """The sets that `together`, followed from one to the next, makes of `things`."""
    found: list[list[Thing]] = []
    for thing in things:
        near = [group for group in found if any(together(thing, other) for other in group)]
        found = [group for group in found if group not in near]
        found.append([*(each for group in near for each in group), thing])
    return found


def numbers(fact: Fact) -> set[Number]:
    """What the fact names that may join it to others."""
    event = fact.event
    if isinstance(event, ActDone | PatientChanged | PatientMerged):
        return set()
    found = {n for n in (*event.numbers, *getattr(event, "previous", ())) if n.kind in JOINING}
    if isinstance(event, SeriesReceived | FindingsMade):
        found.add(Number(kind="study", value=event.study_uid))
    return found


def same(one: Number, other: Number) -> bool:
    """An open number meets every authority's; UIDs need none."""
    needs = one.kind not in ("study", "step") and one.authority and other.authority
    return (
        one.kind == other.kind
        and one.value == other.value
        and (not needs or one.authority == other.authority)
    )


def meet(one: Iterable[Fact], other: Iterable[Fact]) -> bool:
    """Whether a number of one side is a number of the other."""
    there = {n for fact in other for n in numbers(fact)}
    return any(same(a, b) for fact in one for a in numbers(fact) for b in there)


def born(fact: Fact) -> str:
    return (fact.identity.birth_date if fact.identity else "") or ""


def folded(fact: Fact) -> str:
    name = (fact.identity.name if fact.identity else "") or ""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(c if c.isalnum() else " " for c in plain if c.isascii()).split())


def kind(facts: Iterable[Fact], *types: type) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact.event, types)]


@dataclass
class History:
    """What identity messages and merges say of numbers."""

    facts: list[Fact]
    authorities: dict[str, set[str]]
    merged: list[tuple[Who, Who]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.facts.sort(key=lambda f: f.place)
        for fact in self.facts:
            event = fact.event
            if isinstance(event, PatientMerged) and event.act == "merge":
                old, new = self.sides(fact)
                if old and new:
                    self.merged.append((self.at(*old, fact), self.at(*new, fact, keeps=True)))

    def sides(self, fact: Fact) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
        """Who is merged into whom, or linked; without authority only where just one has them."""
        event = fact.event
        assert isinstance(event, PatientMerged)
        assert event.patient
        ends = (event.retired, event.patient)
        have = [self.authorities.get(p.value, set()) for p in ends]
        if event.act in ("link", "unlink"):
            found = [
                (p.authority or "".join(h) if len(h) == 1 else p.authority, p.value)
                for p, h in zip(ends, have, strict=True)
            ]
            return (found[0], found[1]) if found[0][0] and found[1][0] else (None, None)
        said = event.retired.authority or event.patient.authority
        said = said or ("".join(have[0]) if len(have[0]) == 1 else "")
        if any(not p.authority and h - {said} for p, h in zip(ends, have, strict=True)):
            return None, None
        return (ends[0].authority or said, ends[0].value), (
            ends[1].authority or said,
            ends[1].value,
        )

    def newborns(self, authority: str, value: str) -> list[Fact]:
        """Each A28 on a number that was merged away by then begins another person."""
        found = []
        for fact in self.facts:
            event = fact.event
            if not (isinstance(event, PatientChanged) and event.event == "A28"):
                continue
            if event.patient and (event.patient.authority, event.patient.value) == (
                authority,
                value,
            ):
                gone = [
                    m.place
                    for m in self.facts
                    if isinstance(m.event, PatientMerged)
                    and m.event.act == "merge"
                    and self.sides(m)[0] == (authority, value)
                    and self.sides(m)[1] not in (None, (authority, value))
                    and m.place < fact.place
                ]
                if gone and (not found or max(gone) > found[-1].place):
                    found.append(fact)
        return found

    def at(self, authority: str, value: str, fact: Fact, keeps: bool = False) -> Who:
        """Whose number it is: by the date, else by time."""
        begun = self.newborns(authority, value)
        dated = [n for n, birth in enumerate(begun, 1) if born(birth) == born(fact) != ""]
        if dated and not isinstance(fact.event, PatientMerged):
            return authority, value, dated[-1]
        past = [n for n, birth in enumerate(begun, 1) if birth.place <= fact.place]
        epoch = past[-1] if past else 0
        if born(fact) and epoch and not isinstance(fact.event, PatientMerged):
            if born(begun[epoch - 1]) not in ("", born(fact)):
                epoch -= 1
        return authority, value, epoch

    def one(self, who: Who) -> frozenset[Who]:
        """All numbers that merges made one with it."""
        found, more = {who}, True
        while more:
            more = False
            for old, new in self.merged:
                if (old in found) != (new in found):
                    found |= {old, new}
                    more = True
        return frozenset(found)

    def who(self, fact: Fact) -> frozenset[Who] | None:
        """The numbers that are the fact's patient's, after merges and moves."""
        patient = fact.patient
        if not patient:
            return None
        mine = self.one(self.at(patient.authority, patient.value, fact))
        for word in self.facts:
            event = word.event
            if isinstance(event, PatientMerged) and event.act == "move":
                old, new = self.sides(word)
                named = any(same(a, b) for a in fact.stated for b in event.moved)
                if old and new and named and self.at(*old, word) in mine:
                    mine = self.one(self.at(*new, word))
        return mine

    def settling(self, who: frozenset[Who]) -> list[Fact]:
        """Identity messages and merges about these numbers that say a birth date, oldest first."""
        found = []
        for fact in self.facts:
            event = fact.event
            said = isinstance(event, PatientMerged) and event.act == "merge"
            said = said and self.sides(fact)[0] != self.sides(fact)[1]
            said |= isinstance(event, PatientChanged) and event.event in SETTLING
            if not said or not event.patient:  # type: ignore[union-attr]
                continue
            number = (
                self.sides(fact)[1]
                if isinstance(event, PatientMerged)
                else (fact.patient.authority, fact.patient.value)  # type: ignore[union-attr]
            )
            if number and self.at(*number, fact) in who:
                found.append(fact)
        return found

    def linked(self, one: frozenset[Who], other: frozenset[Who]) -> bool:
        """A24 makes numbers of different authorities one person until A37."""
        word = ""
        for fact in self.facts:
            event = fact.event
            if isinstance(event, PatientMerged) and event.act in ("link", "unlink"):
                old, new = self.sides(fact)
                if old and new and old[0] != new[0]:
                    ends = {self.at(*old, fact), self.at(*new, fact)}
                    if ends & one and ends & other:
                        word = event.act
        return word == "link"


@dataclass
class Person:
    """A patient of one component: facts, numbers, birth date; `alone`: it cannot be told who."""

    facts: list[Fact]
    who: frozenset[Who] = frozenset()
    born: str = ""
    alone: bool = False
    name: str = ""

    def contradicts(self, other: Person) -> bool:
        return bool(self.born and other.born and self.born != other.born)


def people(component: list[Fact], history: History) -> list[Person]:
    """The component, split by person."""
    found: list[Person] = []
    doubtful: list[Person] = []
    by_number: dict[frozenset[Who], list[Fact]] = defaultdict(list)
    bare = []
    for fact in component:
        who = history.who(fact)
        by_number[who].append(fact) if who else bare.append(fact)
    for who, facts in by_number.items():
        words = history.settling(who)
        date, until = settled(words, facts, history)
        first: dict[str, datetime] = {}
        for fact in [*facts, *words]:
            first[born(fact)] = min(first.get(born(fact), fact.event_time), fact.event_time)
        by_date: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            old = bool(born(fact) and until and first[born(fact)] < until)
            by_date[date if old else born(fact)].append(fact)
        undated = by_date.pop("", [])
        if any(born(word) for word in words):
            by_date[date] += []
        if len(by_date) > 1:
            doubtful += [Person([f], who, alone=True) for f in undated]
        elif undated:
            by_date[next(iter(by_date), "")] += undated
        for date, group in by_date.items():
            names = [f for f in sorted([*group, *words], key=lambda f: f.place) if folded(f)]
            told = [f for f in names if f in words] or names
            found.append(Person(group, who, date, name=folded(told[-1]) if told else ""))
    found = [person for person in joined(found, history) if person.facts]
    for fact in [f for f in bare if isinstance(f.event, ExamProgressed)]:
        # An N-SET names its step alone: it is of the patient that the N-CREATE names.
        step = {n for n in numbers(fact) if n.kind == "step"}
        whose = [
            p
            for p in found + doubtful
            if any(step & numbers(f) for f in kind(p.facts, ExamProgressed) if f.patient)
        ]
        if step and len(whose) == 1:
            whose[0].facts.append(fact)
            bare.remove(fact)
    dates = ({p.born for p in found} | {born(f) for f in bare}) - {""}
    if bare and len(dates) <= 1 and not doubtful and len(found) <= 1:
        if not found:
            found.append(Person([], born=next(iter(dates), "")))
        found[0].facts += bare
        bare = []
    return found + alone(doubtful) + alone([Person([f], born=born(f)) for f in bare])


def settled(words: list[Fact], facts: list[Fact], history: History) -> tuple[str, datetime | None]:
    """The date that counts for a number, and until when others that were stated count as it."""
    dated = [word for word in words if born(word)]
    merges = [word for word in words if isinstance(word.event, PatientMerged)]
    date = born(dated[-1]) if dated else ""
    if not date and merges:
        number = history.sides(merges[-1])[1]
        last = max(merge.event_time for merge in merges)
        own = [
            (f.event_time, born(f))
            for f in facts
            if f.patient and (f.patient.authority, f.patient.value) == number
            if born(f) and f.event_time <= last
        ]
        date = max(own)[1] if own else ""
    ends = [w.event_time for w in words if born(w) == date or w in merges]
    return date, max(ends) if date and ends else None


def alone(people: list[Person]) -> list[Person]:
    """What cannot be told stands alone, but one order's messages, and what is said of one study."""

    def together(a: int, b: int) -> bool:
        (one,), (other,) = people[a].facts, people[b].facts
        if (one.patient, born(one)) != (other.patient, born(other)):
            return False
        return bool(subject(one) & subject(other))

    return [
        Person(
            [people[n].facts[0] for n in group],
            people[group[0]].who,
            people[group[0]].born,
            alone=True,
        )
        for group in partition(range(len(people)), together)
    ]


def subject(fact: Fact) -> set[tuple[bool, Number]]:
    """By what a fact that stands alone is known."""
    found = numbers(fact)
    of_exam = isinstance(fact.event, SeriesReceived | FindingsMade | ExamProgressed)
    kinds = ("study", "step") if of_exam else ("placer", "filler")
    return {(of_exam, n) for n in ({n for n in found if n.kind in kinds} or found)}


def joined(found: list[Person], history: History) -> list[Person]:
    """Open numbers, linked numbers, and who looks alike; never two numbers of one authority."""

    def stated(person: Person) -> bool:
        return all(authority for authority, _, _ in person.who)

    def values(person: Person) -> set[str]:
        return {value for _, value, _ in person.who}

    pairs: set[frozenset[int]] = set()
    for at, person in enumerate(found):
        if not stated(person):
            near = [
                n
                for n, other in enumerate(found)
                if stated(other)
                and values(other) & values(person)
                and not other.contradicts(person)
            ]
            pairs |= {frozenset((at, near[0]))} if len(near) == 1 else set()

    def groups(pairs: set[frozenset[int]]) -> list[list[int]]:
        return partition(range(len(found)), lambda a, b: frozenset((a, b)) in pairs)

    def sound(group: list[int]) -> bool:
        clash = False
        for a, b in combinations([found[n] for n in group], 2):
            clash |= a.contradicts(b) or a.who == b.who
            mine = {authority for authority, _, _ in a.who if authority}
            clash |= a.who != b.who and any(auth in mine for auth, _, _ in b.who)
        return not clash

    def tried(pairs: set[frozenset[int]], more: set[frozenset[int]]) -> set[frozenset[int]]:
        """Of `more` those whose whole group is sound."""
        kept = set(pairs)
        for group in groups(pairs | more):
            if sound(group):
                kept |= {pair for pair in more if pair <= set(group)}
        return kept

    pairs = tried(set(), pairs)
    links, alike = set(), set()
    for a, b in combinations(range(len(found)), 2):
        if history.linked(found[a].who, found[b].who):
            links.add(frozenset((a, b)))
        if found[a].born and found[a].name:
            if (found[a].born, found[a].name) == (found[b].born, found[b].name):
                alike.add(frozenset((a, b)))
    pairs = tried(tried(pairs, links), alike)
    result = []
    for group in groups(pairs):
        parts = [found[n] for n in group]
        result.append(
            Person(
                [f for p in parts for f in p.facts],
                frozenset(w for p in parts for w in p.who),
                max(p.born for p in parts),
                name=max(p.name for p in parts),
            )
        )
    return result


def partition_facts(facts: list[Fact]) -> list[list[Fact]]:
    by_key = {fact.key: fact for fact in facts}
    groups = partition(by_key, lambda a, b: meet([by_key[a]], [by_key[b]]))
    return [[by_key[key] for key in group] for group in groups]
