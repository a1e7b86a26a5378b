"""A plain model of who is who: half of the oracle of the record's property tests.

Slow and simple on purpose, written from the rules in words and not from the code that it judges.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from streams.events import (
    ActDone,
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

    def only(self, value: str) -> str:
        """The only authority that has the number."""
        have = self.authorities.get(value, set())
        return next(iter(have)) if len(have) == 1 else ""

    def speaks_of(self, fact: Fact) -> tuple[str, str]:
        """Whom an identity message without an authority means: the only one of that number."""
        patient = fact.patient
        assert patient
        return patient.authority or self.only(patient.value), patient.value

    def spoken(self, number: tuple[str, str]) -> bool:
        """Whether an identity message is about the number."""
        for fact in self.facts:
            ends: tuple[object, ...] = (self.speaks_of(fact),)
            if isinstance(fact.event, PatientMerged):
                ends = self.sides(fact)
                ends = ends if ends[0] != ends[1] else ()
            if number in ends:
                return True
        return False

    def newborns(self, authority: str, value: str) -> list[Fact]:
        """Each A28 on a number that was merged away by then begins another person."""
        found = []
        for fact in self.facts:
            event = fact.event
            if not (isinstance(event, PatientChanged) and event.event == "A28"):
                continue
            if self.speaks_of(fact) == (authority, value):
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
        stated = born(fact) and epoch and not isinstance(fact.event, PatientMerged)
        if stated and born(begun[epoch - 1]) not in ("", born(fact)):
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

    def who(self, fact: Fact, authority: str = "") -> frozenset[Who] | None:
        """The numbers that are the fact's patient's, after merges and moves."""
        patient = fact.patient
        if not patient:
            return None
        mine = self.one(self.at(patient.authority or authority, patient.value, fact))
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
            said = isinstance(event, PatientMerged) and event.act in ("merge", "move")
            said = said and self.sides(fact)[0] != self.sides(fact)[1]
            said |= isinstance(event, PatientChanged) and event.event in SETTLING
            if not said or not event.patient:  # type: ignore[union-attr]
                continue
            number = (
                self.sides(fact)[1] if isinstance(event, PatientMerged) else self.speaks_of(fact)
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
