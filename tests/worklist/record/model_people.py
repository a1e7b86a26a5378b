"""A plain model of who is who: the components of facts, split by person."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

from streams.events import (
    ExamProgressed,
    FindingsMade,
    Number,
    PatientMerged,
    SeriesReceived,
)
from tests.worklist.record.model_numbers import (
    History,
    Who,
    born,
    folded,
    kind,
    meet,
    numbers,
    partition,
)
from worklist.record.facts import Fact, Place


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
        who = history.who(fact, adopted(fact, component, history))
        by_number[who].append(fact) if who else bare.append(fact)
    for who, facts in by_number.items():
        words = history.settling(who)
        date, until = settled(words, facts, history)
        first: dict[str, Place] = {}
        for fact in [*facts, *words]:
            first[born(fact)] = min(first.get(born(fact), fact.place), fact.place)
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
    found = joined(found, history)
    for person in list(doubtful):
        homes = [home for home in found if person.who <= home.who]
        if len(homes) == 1:  # its number's dates count as one by now
            homes[0].facts += person.facts
            doubtful.remove(person)
    found = [person for person in found if person.facts]
    for fact in [f for f in bare if isinstance(f.event, ExamProgressed)]:
        # An N-SET names its step alone: it is of the patient that the N-CREATE names.
        step = {n for n in numbers(fact) if n.kind == "step"}
        whose = [
            p
            for p in found + doubtful
            if any(step & numbers(f) for f in kind(p.facts, ExamProgressed) if f.patient)
        ]
        if step and len(whose) == 1 and born(fact) in ("", whose[0].born):
            whose[0].facts.append(fact)
            bare.remove(fact)
    dates = ({p.born for p in found} | {born(f) for f in bare}) - {""}
    if bare and len(dates) <= 1 and not doubtful and len(found) <= 1:
        if not found:
            found.append(Person([], born=next(iter(dates), "")))
        found[0].facts += bare
        bare = []
    return found + alone(doubtful) + alone([Person([f], born=born(f)) for f in bare])


def adopted(fact: Fact, component: list[Fact], history: History) -> str:
    """The authority of an open number that the component knows from identity messages alone."""
    if not fact.patient or fact.patient.authority:
        return ""
    value, authority = fact.patient.value, history.only(fact.patient.value)
    stated = [f for f in component if f.patient and f.patient.authority]
    known = {v for f in stated for _, v, _ in history.who(f) or ()}
    if not authority or value in known or not history.spoken((authority, value)):
        return ""
    alike = [f for f in component if f.patient == fact.patient]

    def fits(other: Fact) -> bool:
        words = history.settling(history.who(other, authority) or frozenset())
        told = [born(word) for word in words if born(word)]
        return not told or reads_as(born(other), words, alike, history) == told[-1]

    dated = [
        other for other in alike if born(other) and (not born(fact) or born(other) == born(fact))
    ]
    return authority if all(map(fits, dated)) else ""


def reads_as(date: str, words: list[Fact], facts: list[Fact], history: History) -> str:
    """The date that one which was stated counts as."""
    stands, until = settled(words, facts, history)
    first = min(f.place for f in [*facts, *words] if born(f) == date)
    return stands if until and first < until else date


def settled(words: list[Fact], facts: list[Fact], history: History) -> tuple[str, Place | None]:
    """The date that counts for a number, and until when others that were stated count as it."""
    dated = [word for word in words if born(word)]
    merges = [word for word in words if isinstance(word.event, PatientMerged)]
    date = born(dated[-1]) if dated else ""
    if not date and merges:
        number = history.sides(merges[-1])[1]
        last = max(merge.known for merge in merges)
        own = [
            (f.place, born(f))
            for f in facts
            if f.patient and (f.patient.authority, f.patient.value) == number
            if born(f) and f.place <= last
        ]
        date = max(own)[1] if own else ""
    ends = [w.known for w in words if born(w) == date or w in merges]
    return date, max(ends) if date and ends else None


def alone(people: list[Person]) -> list[Person]:
    """What cannot be told stands alone, but one order's messages, and what is said of one study."""

    def together(a: int, b: int) -> bool:
        one, other = people[a].facts[0], people[b].facts[0]
        if (one.patient, born(one)) != (other.patient, born(other)):
            return False
        return bool(subject(one) & subject(other))

    return [
        Person(
            [fact for n in group for fact in people[n].facts],
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

    def agree(person: Person, other: Person) -> bool:
        """Whether an open number's date is the stated one's, or was settled to it."""
        if not person.contradicts(other):
            return True
        facts = [f for p in found if p.who in (person.who, other.who) for f in p.facts]
        words = history.settling(other.who)
        said = person.born in {born(f) for f in [*facts, *words]}
        return said and reads_as(person.born, words, facts, history) == other.born

    pairs: set[frozenset[int]] = set()
    for at, person in enumerate(found):
        if not stated(person):
            near = [
                n
                for n, other in enumerate(found)
                if stated(other) and values(other) & values(person) and agree(person, other)
            ]
            if len(near) == 1:
                pairs |= {frozenset((at, near[0]))}
                person.born = found[near[0]].born or person.born

    def groups(pairs: set[frozenset[int]]) -> list[list[int]]:
        return partition(range(len(found)), lambda a, b: frozenset((a, b)) in pairs)

    def sound(group: list[int]) -> bool:
        """One birth date, and of each authority one number; open ones, that no stated number
        explains, count as one authority's."""
        clash = any(a.contradicts(b) for a, b in combinations([found[n] for n in group], 2))
        standing = [found[n] for n in group if n not in explained]
        for a, b in combinations(standing, 2):
            mine = {authority for authority, _, _ in a.who}
            clash |= a.who == b.who or any(auth in mine for auth, _, _ in b.who)
        return not clash

    def tried(pairs: set[frozenset[int]], more: set[frozenset[int]]) -> set[frozenset[int]]:
        """Of `more` those whose whole group is sound."""
        kept = set(pairs)
        for group in groups(pairs | more):
            if sound(group):
                kept |= {pair for pair in more if pair <= set(group)}
        return kept

    explained: set[int] = set()
    for group in groups(pairs):
        if sound([n for n in group if stated(found[n])]) and not any(
            found[a].contradicts(found[b]) for a, b in combinations(group, 2)
        ):
            explained |= {n for n in group if not stated(found[n])} if len(group) > 1 else set()
    pairs = {pair for pair in pairs if pair & explained}
    links, alike = set(), set()
    for a, b in combinations(range(len(found)), 2):
        if history.linked(found[a].who, found[b].who):
            links.add(frozenset((a, b)))
        names = [(p.born, p.name) for p in (found[a], found[b]) if p.born and p.name]
        if len(names) == 2 and names[0] == names[1]:
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


def certainly_two(one: Person, other: Person) -> bool:
    """One authority gives two numbers, or birth dates differ."""
    if one is other:
        return False
    mine = {who for who in one.who if who[0]}
    theirs = {who for who in other.who if who[0]}
    both = {who[0] for who in mine} & {who[0] for who in theirs}
    return one.contradicts(other) or any(
        {w for w in mine if w[0] == name} != {w for w in theirs if w[0] == name} for name in both
    )
