"""What senders said: facts, the nodes by which they are found, and which version stands.

A fact is one message about one thing, kept with its first receipt. The set of facts is all that the
record knows: any permutation and duplication of the same stamped events leaves the same set
(promise 5). `worklist.record.relate` says what belongs together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, lru_cache
from typing import NamedTuple, TypeVar

from streams.events import (
    ActDone,
    Event,
    ExamProgressed,
    FindingsMade,
    Number,
    OrderChanged,
    Patient,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
    VersionKey,
)
from streams.sealed import Identity, OrderDetails
from worklist.record.acts import Act

#: Kinds of numbers that say what belongs together; visits and accounts only say where somebody is.
JOINING = frozenset({"accession", "placer", "filler", "study", "step"})
_ORDER_NUMBERS = ("placer", "filler")
_NO_AUTHORITY = frozenset({"study", "step"})

Value = TypeVar("Value")


class Name(NamedTuple):
    """A number, as the patient's who is stated beside it."""

    number: Number
    patient: Patient | None


class Place(NamedTuple):
    """What statements and identity messages of different sources are compared by."""

    time: datetime
    message_time: datetime
    sequence: int
    received: datetime
    key: str


@dataclass(frozen=True)
class Fact:
    """One event as it was first received, with what its seals hold."""

    event: Event
    identity: Identity | None = None
    act: Act | None = None
    details: OrderDetails | None = None

    # What is asked of a fact again and again is reckoned once: it never changes.

    @cached_property
    def key(self) -> str:
        """The same message again has the same key."""
        return self.event.event_id

    @cached_property
    def received(self) -> datetime:
        """First receipt."""
        return self.event.received_at

    @cached_property
    def place(self) -> Place:
        """Its place among what different sources said of one person: by version.

        What happened within one second follows the time of the message, its number and the
        receipt: HL7 states seconds, images have the moment of their receipt.
        """
        event = self.event
        if isinstance(event, ActDone):
            return Place(event.received_at, event.received_at, 0, event.received_at, self.key)
        said = event.version
        times = said.time, said.message_time
        if isinstance(event, SeriesReceived | FindingsMade):
            times = said.time.replace(microsecond=0), said.message_time.replace(microsecond=0)
        return Place(*times, said.sequence, self.received, self.key)

    @property
    def known(self) -> Place:
        """From when on its sender knew it: what others say later, they say in spite of it.

        A correction is entered (EVN-2) before it is sent (MSH-7): till then all have the old word.
        """
        place = self.place
        return place._replace(time=max(place.time, place.message_time))

    @cached_property
    def version(self) -> VersionKey:
        """What the versions of one source are compared by."""
        assert not isinstance(self.event, ActDone)
        return self.event.version_key()

    @cached_property
    def patient(self) -> Patient | None:
        """The patient number that the event states."""
        return None if isinstance(self.event, ActDone) else self.event.patient

    @property
    def patients(self) -> tuple[Patient | None, ...]:
        """The patients as whose its numbers count: the stated one, or those of the act's row."""
        if self.act is not None:
            return self.act.patients or (None,)
        return (self.patient,)

    @property
    def stated(self) -> tuple[Number, ...]:
        """All numbers that the event names, visits and accounts too."""
        return getattr(self.event, "numbers", ())

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        """The joining numbers that the event names, its study UID included."""
        event = self.event
        if isinstance(event, ActDone):
            return self.act.numbers if self.act else ()
        if isinstance(event, PatientChanged | PatientMerged):
            return ()
        found = [n for n in (*event.numbers, *getattr(event, "previous", ())) if n.kind in JOINING]
        if isinstance(event, SeriesReceived | FindingsMade):
            found.append(Number(kind="study", value=event.study_uid))
        return tuple(dict.fromkeys(found))

    @cached_property
    def narrowing(self) -> tuple[Number, ...]:
        """The joining numbers without an accession of an order number's own value: doors put the
        order number where no accession is stated, and that says nothing more.
        """
        own = {number.value for number in order_numbers(self.numbers)}
        return tuple(n for n in self.numbers if n.kind != "accession" or n.value not in own)

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """Its joining numbers, each as its patient's."""
        return tuple(Name(number, self.patient) for number in self.numbers)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """All nodes by which it is found: its numbers, each also as its patient's, and persons."""
        found = set(person_nodes(self.event))
        for number in self.numbers:
            found.add(number_node(number))
            found |= {pair_node(number, patient) for patient in self.patients}
        if isinstance(self.event, OrderChanged | ReportReceived | ExamProgressed):
            found.add(island_node(self))  # should none of its numbers join anything
        return tuple(sorted(found))

    @cached_property
    def joining(self) -> frozenset[str]:
        """The nodes by which it joins others, where no number of it is shared or crowded."""
        return frozenset(map(number_node, self.numbers)) or frozenset((island_node(self),))


def first_receipts(facts: Iterable[Fact]) -> dict[str, Fact]:
    """Each fact once, as it was first received."""
    kept: dict[str, Fact] = {}
    for fact in facts:
        old = kept.get(fact.key)
        if old is None or _seniority(fact) < _seniority(old):
            kept[fact.key] = fact
    return kept


def _seniority(fact: Fact) -> tuple[datetime, str]:
    return fact.received, fact.event.model_dump_json()


@lru_cache(maxsize=65536)
def node(kind: str, *parts: str) -> str:
    """What facts are found and locked by: a digest, never a concatenation."""
    hasher = hashlib.blake2b(digest_size=12)
    for part in (kind, *parts):
        hasher.update(len(part.encode()).to_bytes(4, "big") + part.encode())
    return f"{kind[0]}{hasher.hexdigest()}"


def number_node(number: Number) -> str:
    """The node of a number: of its value alone, because an open number meets every authority's."""
    return node(number.kind, number.value)


def pair_node(number: Number, patient: Patient | None) -> str:
    """The node of a number as one patient's: by it facts meet when the number is shared.

    By the value alone: a patient number that states no authority may be any authority's.
    """
    return node(number.kind, number.value, "of", patient.value if patient else "")


def may_be_one(one: Patient | None, other: Patient | None) -> bool:
    """Whether two patient numbers are the very same, or may be: one states no authority."""
    if one is None or other is None or one.value != other.value:
        return False
    return one.authority == other.authority or not one.authority or not other.authority


def island_node(fact: Fact) -> str:
    """The node of a fact of which no number joins anything: it is found by itself alone."""
    return node("island", fact.key)


def is_island(name: str) -> bool:
    """Whether a node is one fact's own."""
    return name[0] == "i"


def person_node(patient: Patient) -> str:
    """The node of all patients who have a number of the same value."""
    return node("who", patient.value)


def person_nodes(event: Event) -> list[str]:
    """The patients that `event` speaks of."""
    if isinstance(event, ActDone):
        return []
    found = [event.patient] if event.patient else []
    if isinstance(event, PatientMerged):
        found.append(event.retired)
    return sorted({person_node(patient) for patient in found})


def meet(one: Number, other: Number) -> bool:
    """Whether two numbers are the same one: an open one meets every authority's."""
    return (
        one.kind == other.kind
        and one.value == other.value
        and (
            one.kind in _NO_AUTHORITY
            or one.authority == other.authority
            or not one.authority
            or not other.authority
        )
    )


def order_numbers(numbers: Iterable[Number]) -> tuple[Number, ...]:
    """Placer and filler numbers."""
    return tuple(number for number in numbers if number.kind in _ORDER_NUMBERS)


def accessions(numbers: Iterable[Number]) -> tuple[Number, ...]:
    """Accession numbers."""
    return tuple(number for number in numbers if number.kind == "accession")


def winners(
    facts: Sequence[Fact],
    read: Callable[[Fact], Value | None],
    weight: Callable[[Value], int] = lambda _: 0,
) -> Mapping[str, tuple[Fact, Value]]:
    """Of each source its newest version that mentions what `read` asks for (else None); of what one
    message says twice, and differently, what weighs more.
    """
    best: dict[str, tuple[Fact, Value]] = {}
    for fact in facts:
        if isinstance(fact.event, ActDone) or (value := read(fact)) is None:
            continue
        old = best.get(fact.event.sender)
        if old is None or (fact.version, weight(value)) > (old[0].version, weight(old[1])):
            best[fact.event.sender] = (fact, value)
    return best


def stands(
    facts: Sequence[Fact],
    read: Callable[[Fact], Value | None],
    weight: Callable[[Value], int] = lambda _: 0,
) -> tuple[Fact, Value] | None:
    """What stands between sources: each one's newest version, the one received last."""
    if not facts:
        return None
    found = winners(facts, read, weight).values()
    return max(found, key=lambda pair: (pair[0].received, pair[0].key), default=None)


@cache
def text_of(name: str) -> Callable[[Fact], str | None]:
    """Reads a field of text: its value, empty where the sender emptied it, None unmentioned."""

    def read(fact: Fact) -> str | None:
        if name in getattr(fact.event, "emptied", ()):
            return ""
        value = getattr(fact.event, name, None)
        return value if isinstance(value, str) else None

    return read


@cache
def time_of(name: str) -> Callable[[Fact], tuple[datetime | None] | None]:
    """Reads a field of time: (value,), (None,) where it was emptied, None unmentioned."""

    def read(fact: Fact) -> tuple[datetime | None] | None:
        if name in getattr(fact.event, "emptied", ()):
            return (None,)
        value = getattr(fact.event, name, None)
        return (value,) if isinstance(value, datetime) else None

    return read
