"""Who is who: the statements of one component are split into persons, by rules in a fixed order.

1. by patient number as stated, after merges; an open number counts for now as an authority's own;
2. within a number by birth date: an identity message or a merge settles the older dates; a number
   that was merged away and given to somebody else (A28) begins another person;
3. no date: the number's only date; of several it cannot be told;
4. an open number is the only stated one of the same value, where no date contradicts; dates that
   rule 2 settles do not. Where the component states none, it is that of the only authority that
   has the value, if identity messages speak of that one;
5. persons of different authorities with one birth date and one folded name are one;
6. no number: the component's only person, where no date contradicts; else it cannot be told.

The rules are a function of the set of statements and identity messages, so their order of arrival
does not matter. What cannot be told stands alone.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from streams.events import ExamProgressed, FindingsMade, Patient, SeriesReceived
from worklist.record.facts import Fact, node, order_numbers
from worklist.record.groups import Groups
from worklist.record.identities import IdentityHistory, Root


class Person(NamedTuple):
    """One person of a component: the number that stands, and the birth date that sets it apart.

    `alone` is the statement's own key where it cannot be told who that is; else empty.
    """

    root: Root | None
    born: str
    alone: str = ""


@dataclass(frozen=True)
class Statement:
    """What one fact says of its patient."""

    fact: Fact
    patient: Patient | None
    born: str
    name: str


@dataclass
class Split:
    """The persons of a component: who each fact's patient is, and what had to be marked.

    Attributes:
        of: fact key → its person.
        authorities: person → the numbers that are certainly that person's, by authority.
        marked: fact keys of statements that a re-used number leaves in doubt.
    """

    of: dict[str, Person] = field(default_factory=dict)
    authorities: dict[Person, dict[str, set[Root]]] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    _two: dict[tuple[Person, Person], bool] = field(default_factory=dict)

    def certainly_two(self, one: Person, other: Person) -> bool:
        """Whether one authority gives them two numbers, or their birth dates differ."""
        key = (one, other)
        if key not in self._two:
            self._two[key] = one != other and self._two_patients(one, other)
        return self._two[key]

    def share_a_number(self, one: Person, other: Person) -> bool:
        """Whether one authority's number is stated of both: only birth dates tell them apart."""
        mine, theirs = self.authorities.get(one, {}), self.authorities.get(other, {})
        both = mine.keys() & theirs.keys() - {""}  # open numbers may be of two authorities
        return any(mine[name] & theirs[name] for name in both)

    def _two_patients(self, one: Person, other: Person) -> bool:
        if one.born and other.born and one.born != other.born:
            return True
        mine, theirs = self.authorities.get(one, {}), self.authorities.get(other, {})
        both = mine.keys() & theirs.keys() - {""}  # open numbers may be of two authorities
        return any(mine[name] != theirs[name] for name in both)


def united(splits: Iterable[Split]) -> Split:
    """The persons of several groups that a person linked: nobody becomes somebody else by that."""
    found = Split()
    for each in splits:
        found.of |= each.of
        found.marked |= each.marked
        for person, numbers in each.authorities.items():
            for authority, roots in numbers.items():
                found.authorities.setdefault(person, {}).setdefault(authority, set()).update(roots)
    return found


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A name without accents, case and marks, its parts in any order."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(sorted(letters.split()))


def statement(fact: Fact) -> Statement:
    """What `fact` says of its patient; what it does not mention is empty."""
    who = fact.identity
    return Statement(
        fact,
        fact.patient,
        (who.birth_date or "") if who else "",
        fold(who.name or "") if who else "",
    )


def split(facts: Sequence[Fact], history: IdentityHistory) -> Split:
    """Who each of `facts` (one component's) is about."""
    found = Split()
    statements = [statement(fact) for fact in sorted(facts, key=lambda f: f.key)]
    numbered = _by_number([s for s in statements if s.patient], history, found)
    persons = _by_date(numbered, history)
    joined = {person: person for person in persons}
    if len(persons) > 1:
        joined = _with_dates(_join_alike(_join_open(persons, numbered, history), persons, history))
    for person, said in persons.items():
        for each in said:
            found.of[each.fact.key] = joined[person]
    _undated(numbered, persons, joined, found)
    _without_number([s for s in statements if not s.patient], found)
    known = [*((person, joined[person]) for person in persons)]
    known += [(person, person) for person in found.of.values() if person.alone]
    for person, chosen in known:
        roots = found.authorities.setdefault(chosen, {})
        if person.root:
            roots.setdefault(person.root.authority, set()).add(person.root)
    return found


def _with_dates(joined: Mapping[Person, Person]) -> dict[Person, Person]:
    """The same, where a person without a birth date has the one that a part of it states."""
    born: dict[Person, str] = {}
    for person, chosen in joined.items():
        born[chosen] = chosen.born or max(born.get(chosen, ""), person.born)
    return {person: chosen._replace(born=born[chosen]) for person, chosen in joined.items()}


def _by_number(
    statements: Iterable[Statement], history: IdentityHistory, found: Split
) -> dict[Root, list[Statement]]:
    """Rule 1, of rule 2 the numbers that were given to somebody else, and of rule 4 the open ones
    of which only identity messages speak.
    """
    grouped: dict[Root, list[Statement]] = defaultdict(list)
    left: dict[Patient, list[Statement]] = defaultdict(list)

    def take(each: Statement, patient: Patient) -> None:
        root, doubtful = history.root(patient, each.born, each.fact.place, each.fact.stated)
        if doubtful:
            found.marked.add(each.fact.key)
        if each.born and history.emptied(root, each.fact):
            each = replace(each, born="")  # its sender took the date back
        grouped[root].append(each)

    for each in statements:
        assert each.patient is not None
        if each.patient.authority:
            take(each, each.patient)
        else:
            left[each.patient].append(each)
    here = {value for root in grouped for value in history.values(root)}
    for patient, said in left.items():
        known = patient if patient.value in here else history.spoken_of(patient)
        for each, whose in _as_known(said, patient, known, history):
            take(each, whose)
    return grouped


def _as_known(
    said: Sequence[Statement], patient: Patient, known: Patient, history: IdentityHistory
) -> list[tuple[Statement, Patient]]:
    """Each statement of an open number as `known`'s, unless its birth date contradicts; one without
    a date, unless any does.
    """
    fits: dict[str, bool] = {}
    for each in said if known != patient else ():
        root, _ = history.root(known, each.born, each.fact.place, each.fact.stated)
        told = history.born(root)
        settled = _settled(root, said, history)
        fit = not told or settled.get(each.born, each.born) in ("", told)
        fits[each.born] = fits.get(each.born, True) and fit
    fits[""] = bool(fits) and all(fits.values())
    return [(each, known if fits.get(each.born) else patient) for each in said]


def _by_date(
    numbered: Mapping[Root, Sequence[Statement]], history: IdentityHistory
) -> dict[Person, list[Statement]]:
    """Rule 2: one person per date that is not settled; dates that are count as the settled one."""
    persons: dict[Person, list[Statement]] = {}
    for root, statements in numbered.items():
        settled = _settled(root, statements, history)
        for each in statements:
            if each.born:
                born = settled.get(each.born, each.born)
                persons.setdefault(Person(root, born), []).append(each)
        if date := history.born(root):
            persons.setdefault(Person(root, date), [])
        if not any(person.root == root for person in persons):
            persons[Person(root, "")] = []
    return persons


def _settled(
    root: Root, statements: Sequence[Statement], history: IdentityHistory
) -> dict[str, str]:
    """Older date → the date that an identity message or a merge says."""
    own = Patient(authority=root.authority, value=root.value)
    return history.settle(
        root, [(s.fact.place, s.born, s.patient == own) for s in statements if s.born]
    )


def _undated(
    numbered: Mapping[Root, Sequence[Statement]],
    persons: Mapping[Person, Sequence[Statement]],
    joined: Mapping[Person, Person],
    found: Split,
) -> None:
    """Rule 3."""
    every = [each for said in numbered.values() for each in said]
    if all(each.born for each in every):
        return
    alone = _apart([each.fact for each in every])
    for root, statements in numbered.items():
        mine = {joined[person] for person in persons if person.root == root}
        for each in statements:
            if each.born:
                continue
            if len(mine) == 1:
                found.of[each.fact.key] = next(iter(mine))
            else:
                found.of[each.fact.key] = Person(root, "", alone[each.fact.key])


def _join_open(
    persons: Mapping[Person, Sequence[Statement]],
    numbered: Mapping[Root, Sequence[Statement]],
    history: IdentityHistory,
) -> dict[Person, Person]:
    """Rule 4: open person → the only stated one of its value whose date does not contradict.

    A date that was settled before the open number stated it last is no contradiction. Where several
    open ones of different dates fit one that has none, none of them is it.
    """

    def counts_as(person: Person, root: Root) -> str:
        """The date of an open number, read as if the stated one had said it."""
        assert person.root is not None
        said = [*numbered[root], *numbered[person.root]]
        return _settled(root, said, history).get(person.born, person.born)

    fits: dict[Person, list[Person]] = defaultdict(list)
    stated = [person for person in persons if person.root and person.root.authority]
    for person in persons:
        if person.root is None or person.root.authority:
            continue
        values = history.values(person.root)
        fit = [
            other
            for other in stated
            if other.root
            and values & history.values(other.root)
            and (not person.born or other.born in ("", person.born, counts_as(person, other.root)))
        ]
        if len(fit) == 1:
            fits[fit[0]].append(person)
    return {
        person: target
        for target, found in fits.items()
        if target.born or len({p.born for p in found if p.born}) <= 1
        for person in found
    }


def _join_alike(
    joined: dict[Person, Person],
    persons: Mapping[Person, Sequence[Statement]],
    history: IdentityHistory,
) -> dict[Person, Person]:
    """Rule 5 and the links of A24: never two numbers of one authority, nor two birth dates."""
    born = {person: person.born for person in persons}
    for person, target in joined.items():
        born[target] = born[target] or person.born
    standing = [person for person in persons if person not in joined]
    linked, alike = Groups(standing), Groups(standing)
    for one, other in combinations(standing, 2):
        if one.root and other.root and history.linked(one.root, other.root):
            linked.join(one, other)
    chosen = _sound_parts(Groups(standing), linked, born)
    named: dict[Hashable, Person] = {}
    for person in standing:
        alike.join(person, chosen[person])
        name = _name(person, persons, joined, history)
        if born[person] and name:
            alike.join(person, named.setdefault((born[person], name), person))
    sure = Groups(standing)
    for person in standing:
        sure.join(person, chosen[person])
    chosen = _sound_parts(sure, alike, born)
    return {person: chosen[joined.get(person, person)] for person in persons}


def _clash(people: Iterable[Person], born: Mapping[Person, str]) -> bool:
    """Whether one authority has two numbers, or there are two birth dates, among them."""
    roots: dict[str, set[Root]] = defaultdict(set)
    dates = {born[person] for person in people if born[person]}
    for person in people:
        if person.root:
            roots[person.root.authority].add(person.root)
    return len(dates) > 1 or any(len(numbers) > 1 for numbers in roots.values())


def _sound_parts(
    sure: Groups[Person], tried: Groups[Person], born: Mapping[Person, str]
) -> dict[Person, Person]:
    """Who each person is: the wider set where it does not clash, else the narrower one.

    A set is named by a member with a birth date where it has one: the date is then the person's.
    """
    chosen: dict[Person, Person] = {}
    for people in tried.sets().values():
        clash = _clash(people, born)
        for person in people:
            mine = [other for other in people if sure.find(other) == sure.find(person)]
            chosen[person] = min(mine if clash else people, key=lambda p: (not p.born, p))
    return chosen


def _name(
    person: Person,
    persons: Mapping[Person, Sequence[Statement]],
    joined: Mapping[Person, Person],
    history: IdentityHistory,
) -> str:
    """The folded name that stands: of the newest identity message, else of the newest statement."""
    if person.root and (told := history.name(person.root)):
        return fold(told)
    said = [
        each
        for other, statements in persons.items()
        if other == person or joined.get(other) == person
        for each in statements
        if each.name
    ]
    newest = max(said, key=lambda s: s.fact.place, default=None)
    return newest.name if newest else ""


def _without_number(statements: Sequence[Statement], found: Split) -> None:
    """Rule 6."""
    if not statements:
        return
    people = set(found.of.values())
    told = {person for person in people if not person.alone}
    dates = {each.born for each in statements if each.born}
    dates |= {person.born for person in told if person.born}
    fits = len(dates) <= 1 and len(people) <= 1 and len(told) == len(people)
    only = next(iter(told)) if told else Person(None, next(iter(dates), ""))
    alone = _apart([each.fact for each in statements])
    for each in statements:
        found.of[each.fact.key] = only if fits else Person(None, each.born, alone[each.fact.key])


def _apart(facts: Sequence[Fact]) -> dict[str, str]:
    """What stands alone together: the messages of one order, what is known of one study."""
    groups = Groups(fact.key for fact in facts)
    first: dict[str, str] = {}
    for fact in facts:
        if isinstance(fact.event, SeriesReceived | FindingsMade | ExamProgressed):
            exam = [n for n in fact.numbers if n.kind in ("study", "step")]
            names = [node("exam", n.kind, n.value) for n in exam or fact.numbers]
        else:
            numbers = order_numbers(fact.numbers) or fact.numbers
            names = [node("order", n.kind, n.value, n.authority) for n in numbers]
        # Only what states the same number and date: the others are told apart by that.
        who = node("who", *((fact.patient.authority, fact.patient.value) if fact.patient else ""))
        for name in names:
            groups.join(fact.key, first.setdefault(name + who + statement(fact).born, fact.key))
    return {fact.key: groups.find(fact.key) for fact in facts}
