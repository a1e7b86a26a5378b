"""What is known of patient numbers: identity messages, merges, links and moves, as a history.

A number is given out once, until it is merged away and given to somebody else (A28): each giving
out is an epoch of it. A `Root` is what a number stands for after all merges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streams.events import Number, Patient, PatientChanged, PatientMerged
from worklist.record.facts import Fact, Place, meet, stands

#: Triggers that say who a number is (HL7 v2.5.1 §3.3): they settle what it had stated before.
_SAYS_WHO = frozenset({"A01", "A04", "A05", "A08", "A28", "A31"})
_GIVES_OUT = "A28"


class Root(NamedTuple):
    """A patient number that stands: authority (empty: open), pseudonym of its value, epoch."""

    authority: str
    value: str
    epoch: int = 0


class IdentityHistory:
    """What identity messages say of the numbers of a component.

    Args:
        facts: identity messages, merges, links and moves about these numbers, in any order.
        authorities: pseudonym of a value → the authorities that have such a number.
    """

    def __init__(self, facts: Iterable[Fact], authorities: Mapping[str, frozenset[str]]) -> None:
        self._authorities = authorities
        self._facts = sorted(facts, key=lambda fact: fact.place)
        self._merges: dict[tuple[str, str], list[tuple[Fact, tuple[str, str]]]] = defaultdict(list)
        self._moves: list[tuple[Fact, tuple[str, str], tuple[str, str]]] = []
        self._links: list[tuple[Fact, tuple[str, str], tuple[str, str], bool]] = []
        self._given: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        self._spoken: set[tuple[str, str]] = set()
        for fact in self._facts:
            self._take(fact)
        self._begins: dict[tuple[str, str], list[Place]] = {}
        self._into: dict[Root, tuple[Place, tuple[str, str]]] = {}
        for number in self._merges.keys() | self._given.keys():
            self._epochs(number)
        self._said: dict[Root, list[Fact]] = defaultdict(list)
        self._merged: dict[Root, list[Fact]] = defaultdict(list)
        self._values: dict[Root, set[str]] = defaultdict(set)
        for fact in self._facts:
            self._file(fact)

    def root(
        self, patient: Patient, born: str, when: Place, numbers: tuple[Number, ...]
    ) -> tuple[Root, bool]:
        """What a statement's number stands for, and whether re-use or a move leaves doubt."""
        number = patient.authority, patient.value
        epoch, doubtful = self._epoch(number, born, when)
        root = self._standing(Root(*number, epoch))
        for fact, old, new in self._moves:
            if self._at(old, fact.place) != root:
                continue
            if any(meet(moved, n) for moved in _moved(fact) for n in numbers):
                root = self._at(new, fact.place)
            doubtful |= not any(n.kind in ("visit", "account") for n in numbers)
        return root, doubtful

    def spoken_of(self, patient: Patient) -> Patient:
        """An open number as that of the only authority that has it, where identity messages speak
        of that one; else as it is.
        """
        authority = self._only(patient.value)
        return (
            Patient(authority=authority, value=patient.value)
            if authority and ((authority, patient.value) in self._spoken)
            else patient
        )

    def born(self, root: Root) -> str:
        """The birth date that its newest identity message states; empty: none does."""
        told = stands(self._said[root], lambda f: f.identity.birth_date if f.identity else None)
        return told[1] if told else ""

    def emptied(self, root: Root, fact: Fact) -> bool:
        """Whether its sender has emptied the birth date since it said what `fact` says."""
        return any(
            told.identity is not None
            and told.identity.birth_date == ""
            and getattr(told.event, "sender", "") == getattr(fact.event, "sender", "")
            and fact.place < told.known
            for told in self._said[root]
        )

    def name(self, root: Root) -> str:
        """The name that its newest identity message states."""
        told = stands(self._said[root], lambda f: f.identity.name if f.identity else None)
        return told[1] if told else ""

    def settle(self, root: Root, stated: Sequence[tuple[Place, str, bool]]) -> dict[str, str]:
        """Older date → the one that counts.

        That is what the newest identity message says; where none says a date, the newest that was
        stated under the surviving number itself before it took the other one in.

        Args:
            stated: when a date was stated, the date, and whether under the surviving number.
        """
        said, merges = self._said[root], self._merged[root]
        date = self.born(root)
        if not date and merges:
            last = max(fact.known for fact in merges)
            before = [(w, d) for w, d, own in stated if own and w <= last]
            date = max(before)[1] if before else ""
        ends = [f for f in said if f.identity and f.identity.birth_date == date] + merges
        if not date or not ends:
            return {}
        told = [(w, d) for w, d, _ in stated]
        told += [(f.place, f.identity.birth_date or "") for f in said if f.identity]
        earliest: dict[str, Place] = {}
        for when, other in sorted(told):
            earliest.setdefault(other, when)
        last = max(fact.known for fact in ends)
        return {other: date for other, when in earliest.items() if other and when < last}

    def values(self, root: Root) -> frozenset[str]:
        """The values of all numbers that stand for `root`."""
        return frozenset(self._values[root] | {root.value})

    def linked(self, one: Root, other: Root) -> bool:
        """Whether A24 made two numbers of different authorities one person, and no A37 undid it."""
        if one.authority == other.authority:
            return False
        last = None
        for fact, first, second, link in self._links:
            roots = {self._at(first, fact.place), self._at(second, fact.place)}
            if roots == {one, other}:
                last = link
        return bool(last)

    def kin(self, root: Root) -> frozenset[Root]:
        """`root` and the numbers that A24 linked with it, one to the next; alone where that joined
        two of one authority.
        """
        pairs = {
            frozenset((self._at(first, fact.place), self._at(second, fact.place)))
            for fact, first, second, _ in self._links
        }
        found, more = {root}, True
        while more:
            near = {other for pair in pairs if pair & found for other in pair} - found
            fresh = {r for r in near if any(self.linked(r, known) for known in found)}
            found |= fresh
            more = bool(fresh)
        authorities = {each.authority for each in found}
        return frozenset(found) if len(authorities) == len(found) else frozenset((root,))

    def linked_within(self, root: Root) -> bool:
        """Whether A24 stands between it and another number of its own authority.

        An authority gives one person one number, so that this makes nobody one: it is only marked.
        """
        last: dict[frozenset[Root], bool] = {}
        for fact, first, second, link in self._links:
            one, other = self._at(first, fact.place), self._at(second, fact.place)
            if one != other and one.authority == other.authority and root in (one, other):
                last[frozenset((one, other))] = link
        return any(last.values())

    def said(self, root: Root) -> list[Fact]:
        """The identity messages, visits and merges about `root`, oldest first."""
        return [fact for fact in self._facts if self._about(fact) == root]

    def _take(self, fact: Fact) -> None:
        event = fact.event
        if isinstance(event, PatientChanged):
            if event.patient:
                self._spoken.add(self._number(event.patient))
            if event.event == _GIVES_OUT and event.patient:
                self._given[self._number(event.patient)].append(fact)
            return
        if not isinstance(event, PatientMerged) or event.patient is None:
            return
        pair = self._sides(event.retired, event.patient, event.act in ("link", "unlink"))
        if pair is None or pair[0] == pair[1]:
            return
        old, new = pair
        self._spoken |= {old, new}
        match event.act:
            case "merge":
                self._merges[old].append((fact, new))
            case "move":
                if event.moved:
                    self._moves.append((fact, old, new))
                else:
                    self._merges[old].append((fact, new))
            case "link" | "unlink":
                self._links.append((fact, old, new, event.act == "link"))

    def _sides(
        self, retired: Patient, survivor: Patient, link: bool = False
    ) -> tuple[tuple[str, str], tuple[str, str]] | None:
        """Both numbers. Where an authority is not stated they count only if just one has them.

        A merge is of one authority's numbers, so that what one side leaves open is the other
        side's; None where another authority has such a number.
        """
        old, new = retired.authority, survivor.authority
        if link:
            old, new = old or self._only(retired.value), new or self._only(survivor.value)
            return ((old, retired.value), (new, survivor.value)) if old and new else None
        authority = old or new or self._only(retired.value)
        for patient in (retired, survivor):
            if not patient.authority and self._authorities.get(patient.value, set()) - {authority}:
                return None
        return (old or authority, retired.value), (new or authority, survivor.value)

    def _number(self, patient: Patient) -> tuple[str, str]:
        """Of whom an identity message speaks: without authority, of the only one that has it."""
        return patient.authority or self._only(patient.value), patient.value

    def _only(self, value: str) -> str:
        """The only authority that has the number; empty: none or several."""
        known = self._authorities.get(value, frozenset())
        return next(iter(known)) if len(known) == 1 else ""

    def _epochs(self, number: tuple[str, str]) -> None:
        """Merges retire the epoch in which they fall; an A28 after one begins the next epoch."""
        begins: list[Place] = []
        retired = False
        acts = [(fact, into) for fact, into in self._merges.get(number, [])]
        turns = sorted(
            [(fact.place, into) for fact, into in acts]
            + [(fact.place, None) for fact in self._given.get(number, [])],
            key=lambda turn: turn[0],
        )
        for place, into in turns:
            if into is not None:
                self._into[Root(*number, len(begins))] = (place, into)
                retired = True
            elif retired:
                begins.append(place)
                retired = False
        self._begins[number] = begins

    def _epoch(self, number: tuple[str, str], born: str, when: Place) -> tuple[int, bool]:
        """Which giving-out a statement means: by its date, else by its own time, in doubt."""
        begins = self._begins.get(number, [])
        if not begins:
            return 0, False
        dates = [self._dates(number, epoch) for epoch in range(len(begins) + 1)]
        having = [epoch for epoch, known in enumerate(dates) if born in known]
        if len(having) == 1:
            return having[0], False
        by_time = self._epoch_at(number, when)
        if born and not having and dates[by_time]:
            # Nobody said this date: the later owners have dates of their own, so it is the first's.
            return 0, False
        return by_time, True

    def _dates(self, number: tuple[str, str], epoch: int) -> set[str]:
        """The dates that identity messages of an epoch state, and the merge that ended it."""
        found = {
            fact.identity.birth_date
            for fact in self._facts
            if fact.identity
            and fact.identity.birth_date
            and isinstance(fact.event, PatientChanged)
            and fact.event.patient
            and self._number(fact.event.patient) == number
            and self._epoch_at(number, fact.place) == epoch
        }
        return found | {
            fact.identity.birth_date
            for fact, _ in self._merges.get(number, [])
            if fact.identity
            and fact.identity.birth_date
            and self._epoch_at(number, fact.place) == epoch
        }

    def _epoch_at(self, number: tuple[str, str], when: Place) -> int:
        return sum(place <= when for place in self._begins.get(number, []))

    def _at(self, number: tuple[str, str], when: Place) -> Root:
        return self._standing(Root(*number, self._epoch_at(number, when)))

    def _standing(self, root: Root) -> Root:
        """Follows merges; a circle ends at its smallest member."""
        seen: list[Root] = []
        while root in self._into and root not in seen:
            seen.append(root)
            place, into = self._into[root]
            root = Root(*into, self._epoch_at(into, place))
        return min(seen[seen.index(root) :]) if root in seen else root

    def _about(self, fact: Fact) -> Root | None:
        event = fact.event
        if not isinstance(event, PatientChanged | PatientMerged) or event.patient is None:
            return None
        patient = event.patient
        number = self._number(patient)
        if isinstance(event, PatientMerged) and (pair := self._sides(event.retired, patient)):
            number = pair[1]
        return self._at(number, fact.place)

    def _file(self, fact: Fact) -> None:
        root = self._about(fact)
        if root is None:
            return
        event = fact.event
        if isinstance(event, PatientMerged):
            pair = self._sides(event.retired, event.patient) if event.patient else None
            if event.act in ("merge", "move") and pair and pair[0] != pair[1]:
                self._merged[root].append(fact)
                self._said[root].append(fact)
                if event.act == "merge" or not event.moved:
                    self._values[root].add(pair[0][1])
        elif isinstance(event, PatientChanged) and event.event in _SAYS_WHO:
            self._said[root].append(fact)
        self._values[root].add(root.value)


def _moved(fact: Fact) -> tuple[Number, ...]:
    return fact.event.moved if isinstance(fact.event, PatientMerged) else ()
