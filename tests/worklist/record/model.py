"""A plain model of who is who and what is one row: the oracle of the record's property tests.

Slow and simple on purpose, written from the rules in words and not from the code that it judges.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from typing import TypeVar

from streams.events import (
    ActDone,
    ExamProgressed,
    FindingsMade,
    Number,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
)
from worklist.record.acts import Act
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

    def stated(self, patient: object) -> tuple[str, str] | None:
        """A merge without authority counts only where exactly one authority has the number."""
        authority, value = patient.authority, patient.value  # type: ignore[attr-defined]
        have = self.authorities.get(value, set())
        if authority or not have:
            return authority, value
        return (next(iter(have)), value) if len(have) == 1 else None

    def sides(self, fact: Fact) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
        event = fact.event
        assert isinstance(event, PatientMerged)
        return self.stated(event.retired), event.patient and self.stated(event.patient)

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
        settled = [f for f in history.settling(who) if born(f)]
        first: dict[str, datetime] = {}
        for fact in [*facts, *settled]:
            first[born(fact)] = min(first.get(born(fact), fact.event_time), fact.event_time)
        by_date: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            date = born(fact)
            if date and settled and first[date] <= settled[-1].event_time:
                date = born(settled[-1])
            by_date[date].append(fact)
        undated = by_date.pop("", [])
        dates = set(by_date) | ({born(settled[-1])} if settled else set())
        if len(dates) > 1:
            doubtful += [Person([f], who, alone=True) for f in undated]
        elif undated:
            by_date[next(iter(dates), "")] += undated
        for date, group in by_date.items():
            about = [*group, *(f for f in history.settling(who))]
            names = [f for f in sorted(about, key=lambda f: f.place) if folded(f)]
            found.append(Person(group, who, date, name=folded(names[-1]) if names else ""))
    found = joined(found, history)
    dates = {p.born for p in found} | {born(f) for f in bare}
    if bare and len(found) == 1 or (bare and not found and not doubtful):
        mine = found[0] if found else Person([])
        clear = [f for f in bare if not born(f) or dates - {""} == {born(f)}]
        mine.facts += clear
        if not found and clear:
            mine.born = next(iter(dates - {""}), "") if len(dates - {""}) == 1 else ""
            found.append(mine)
        bare = [f for f in bare if f not in clear]
    return found + doubtful + [Person([f], born=born(f), alone=True) for f in bare]


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


@dataclass
class Row:
    """A study of one person with its orders, or orders alone."""

    person: Person
    uid: str
    images: list[Fact]
    orders: list[list[Fact]] = field(default_factory=list)
    others: list[Fact] = field(default_factory=list)

    @property
    def facts(self) -> list[Fact]:
        return [*self.images, *(f for order in self.orders for f in order), *self.others]


def kind(facts: Iterable[Fact], *types: type) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact.event, types)]


def orders_of(facts: list[Fact]) -> list[list[Fact]]:
    """One person's orders: by order number; a message without one goes to the accession's only."""

    def named(fact: Fact, *kinds: str) -> set[Number]:
        return {n for n in numbers(fact) if n.kind in kinds}

    def one(a: Fact, b: Fact) -> bool:
        return any(
            same(x, y) for x in named(a, "placer", "filler") for y in named(b, "placer", "filler")
        )

    def alike(a: Fact, b: Fact) -> bool:
        mine, theirs = named(a, "accession"), named(b, "accession")
        return any(same(x, y) for x in mine for y in theirs) or (
            not mine and not theirs and meet([a], [b])
        )

    found = partition([f for f in facts if named(f, "placer", "filler")], one)
    bare = []
    for group in partition([f for f in facts if not named(f, "placer", "filler")], alike):
        of = [o for o in found if any(alike(f, g) for f in group for g in o)]
        of[0].extend(group) if len(of) == 1 else bare.append(group)
    return found + bare


def place_reports(reports: list[Fact], orders: list[list[Fact]]) -> None:
    """A report is its orders', by number, else accession, else UID; else of one nobody sent."""
    lone = []
    for report in reports:
        for kinds in (("placer", "filler"), ("accession",), ("study", "step")):
            said = {n for n in numbers(report) if n.kind in kinds}
            of = [
                o
                for o in orders
                if any(same(n, m) for f in kind(o, OrderChanged) for m in numbers(f) for n in said)
            ]
            if of:
                break
        for order in of:
            order.append(report)
        if not of:
            lone.append(report)
    orders += orders_of(lone)


def rows_of(person: Person) -> list[Row]:
    """A row per study of which images exist; orders that share a number with it; the rest alone."""
    studies: dict[str, list[Fact]] = defaultdict(list)
    for fact in person.facts:
        event = fact.event
        if isinstance(event, SeriesReceived):
            studies[event.study_uid].append(fact)
        elif isinstance(event, ExamProgressed) and event.status == "available":
            for n in event.numbers:
                if n.kind == "study":
                    studies.setdefault(n.value, [])
    steps, found = kind(person.facts, ExamProgressed), kind(person.facts, FindingsMade)
    rows = []
    for uid, images in studies.items():
        row = Row(person, uid, images)
        row.others = [s for s in steps if Number(kind="study", value=uid) in numbers(s)]
        row.others += [f for f in found if f.event.study_uid == uid]  # type: ignore[union-attr]
        rows.append(row)
    orders = orders_of(kind(person.facts, OrderChanged))
    place_reports(kind(person.facts, ReportReceived), orders)
    lone = []
    for order in orders:
        of = [
            row
            for row in rows
            if meet(order, row.images + kind(row.others, ExamProgressed))
            or any(n.value == row.uid for f in order for n in numbers(f) if n.kind == "study")
        ]
        for row in of:
            row.orders.append(order)
        if not of:
            lone.append(order)

    def one_study(a: int, b: int) -> bool:
        mine, theirs = (
            {n.value for f in lone[o] for n in numbers(f) if n.kind == "study"} for o in (a, b)
        )
        return bool(mine & theirs)

    for group in partition(range(len(lone)), one_study):
        rows.append(Row(person, "", [], [lone[n] for n in group]))
    placed = {f.key for row in rows for f in row.facts}
    left = [s for s in steps if s.key not in placed]
    for step in list(left):
        of = [row for row in rows if meet([step], row.facts)]
        for row in of:
            row.others.append(step)
        if of:
            left.remove(step)
    rows += [
        Row(person, "", [], [], group) for group in partition(left, lambda a, b: meet([a], [b]))
    ]
    return rows


URGENCY = ("stat", "urgent", "unknown", "routine")


@dataclass
class Shape:
    """What the model says of a row; `since` is the first receipt of what is new since it was read."""

    uid: str
    facts: frozenset[str]
    priority: str
    conflict: bool
    borrowed: bool
    state: str
    open: bool
    since: datetime | None
    clock: datetime
    flagged: bool


def newest(facts: Iterable[Fact], field_name: str) -> dict[str, tuple[Fact, str]]:
    """Of each source its newest version that mentions the field."""
    best: dict[str, tuple[Fact, str]] = {}
    for fact in facts:
        event = fact.event
        assert not isinstance(event, ActDone)
        value = "" if field_name in event.emptied else getattr(event, field_name, None)
        old = best.get(event.sender)
        if value is not None and (
            not old or event.version_key() > old[0].event.version_key()  # type: ignore[union-attr]
        ):
            best[event.sender] = (fact, value)
    return best


def last_word(facts: Iterable[Fact], field_name: str) -> tuple[Fact, str] | None:
    """Between sources: each one's winner, the one received last."""
    return max(
        newest(facts, field_name).values(), key=lambda w: (w[0].received, w[0].key), default=None
    )


def status(order: list[Fact]) -> str:
    """``final``, ``preliminary``, ``withdrawn``, ``cancelled`` or ``open``."""
    word = last_word(
        [f for f in kind(order, ReportReceived) if f.event.status != "addendum"], "status"
    )  # type: ignore[union-attr]
    if word and word[1] in ("final", "corrected"):
        return "final"
    ris = last_word(kind(order, OrderChanged), "status")
    if ris and ris[1] in ("cancelled", "replaced"):
        return "cancelled"
    return word[1] if word else "open"


def covered_until(row: Row) -> datetime | None:
    """Receipt of the newest final or corrected report."""
    words = [
        f.received
        for order in row.orders
        if status(order) == "final"
        for f in kind(order, ReportReceived)
        if f.event.status in ("final", "corrected")  # type: ignore[union-attr]
    ]
    return max(words, default=None)


def instances(facts: Iterable[Fact], primary: bool = False) -> dict[tuple[str, str], datetime]:
    """Each readable instance and its first receipt."""
    found: dict[tuple[str, str], datetime] = {}
    for fact in facts:
        event = fact.event
        if isinstance(event, SeriesReceived) and event.readable and (event.primary or not primary):
            for name in event.names():
                key = (event.series_uid, name)
                found[key] = min(found.get(key, fact.received), fact.received)
    return found


@dataclass
class Model:
    """The rows of a set of facts and acts; `members` says the ids by which a fact can be named."""

    facts: list[Fact]
    members: Callable[[Fact], list[str]]
    order_classes: tuple[str, ...] = URGENCY
    historic_days: float = 7

    def __post_init__(self) -> None:
        once: dict[str, Fact] = {}
        for fact in sorted(self.facts, key=lambda f: f.received, reverse=True):
            once[fact.key] = fact
        known = list(once.values())
        acts = [f.act for f in known if f.act]
        undone = {a.undoes for a in acts if a.act == "undo"}
        self.acts = sorted(
            (a for a in acts if a.act_id not in undone), key=lambda a: (a.at, a.act_id)
        )
        authorities: dict[str, set[str]] = defaultdict(set)
        for fact in known:
            if fact.patient and fact.patient.authority:
                authorities[fact.patient.value].add(fact.patient.authority)
        self.history = History(kind(known, PatientChanged, PatientMerged), dict(authorities))
        subjects = [
            f for f in known if not isinstance(f.event, PatientChanged | PatientMerged | ActDone)
        ]
        self.rows: list[Row] = []
        for component in partition_by_number(subjects):
            self.people(component)

    def people(self, component: list[Fact]) -> None:
        rows: list[Row] = []
        for person in people(component, self.history):
            rows += rows_of(person)
        self.rows += rows

    def shapes(self) -> list[Shape]:
        return [self.shape(row) for row in self.rows]

    def owner(self, member: str) -> Row | None:
        """The row that an act on `member` is about: the one whose images came first."""
        claim = [
            r
            for r in self.rows
            if any(
                member in self.members(f)
                for f in r.facts
                if not isinstance(f.event, ReportReceived | FindingsMade)
                or not kind(r.facts, SeriesReceived, OrderChanged)
            )
        ]
        return min(
            claim,
            key=lambda r: (not r.images, min((f.received, f.key) for f in r.images or r.facts)),
            default=None,
        )

    def done(self, row: Row, *names: str) -> list[Act]:
        return [a for a in self.acts if a.act in names and self.owner(a.item) is row]

    def certainly_two(self, one: Person, other: Person) -> bool:
        """One authority gives two numbers, or birth dates differ."""
        mine = {authority for authority, _, _ in one.who if authority}
        return one.contradicts(other) or (
            one.who != other.who and any(authority in mine for authority, _, _ in other.who)
        )

    def shape(self, row: Row) -> Shape:
        near = [r for r in self.rows if r.person is not row.person and meet(r.facts, row.facts)]
        lent = [
            (order, self.certainly_two(row.person, r.person))
            for r in near
            for order in r.orders
            if row.images
            and meet(order, row.images)
            and status(order) in ("open", "preliminary", "withdrawn")
        ]
        own_open = [o for o in row.orders if status(o) not in ("final", "cancelled")]
        lent = [(o, two) for o, two in lent if not two or not own_open]
        heard = [self.classes(o) for o in [*row.orders, *(o for o, _ in lent)]]
        said = {c for classes in heard for c in classes} or {"unknown"}
        if any(not classes for classes in heard):
            said.add("unknown")
        priority = min(said, key=self.order_classes.index)
        personal = self.done(row, "set_priority")
        if personal:
            priority = personal[-1].code
        here = instances(row.facts)
        exist = bool(here) or any(
            isinstance(f.event, ExamProgressed) and f.event.status == "available"
            for f in row.others
        )
        stati = [status(o) for o in row.orders]
        until = covered_until(row)
        reported = "final" in stati and set(stati) <= {"final", "cancelled"}
        since = self.since(row, until if "final" in stati else None)
        finish = self.done(row, "finish")
        closed = (reported or bool(finish)) and since is None
        gone = bool(stati) and set(stati) == {"cancelled"}
        if gone and (not exist or self.done(row, "confirm_cancel")):
            state = "cancelled"
        elif reported and since is None:
            state = "final"
        elif exist and self.historic(row):
            state = "historic"
        elif exist:
            state = "preliminary" if "preliminary" in stati and since is None else "readable"
        else:
            moves = row.images or any(
                isinstance(f.event, ExamProgressed)
                and f.event.status in ("in_progress", "completed")
                for f in row.others
            )
            moves = moves or any(
                (w := last_word(kind(o, OrderChanged), "status"))
                and w[1] in ("in_progress", "performed")
                for o in row.orders
            )
            state = "arriving" if moves else "expected"
        return Shape(
            uid=row.uid,
            facts=frozenset(f.key for f in row.facts),
            priority=priority,
            conflict=bool(near),
            borrowed=bool(lent),
            state=state,
            open=not closed and state not in ("final", "cancelled", "historic"),
            since=since,
            clock=since or self.clock(row),
            flagged=self.flagged(row),
        )

    def classes(self, order: list[Fact]) -> set[str]:
        """What each source says of its priority."""
        words = newest(kind(order, OrderChanged), "priority").values()
        return {w if w in self.order_classes else "unknown" for _, w in words}

    def since(self, row: Row, until: datetime | None) -> datetime | None:
        """First receipt of what no finish covers and no final report."""
        finishes, reopened = self.done(row, "finish"), self.done(row, "reopen")
        if not finishes and until is None:
            return None
        ends = [f.at for f in finishes] + ([until] if until else [])
        new: list[datetime] = [a.at for a in reopened if a.at > max(ends)]
        seen = {key for f in finishes for key in f.fragments}
        covered = instances([f for f in row.images if f.key in seen])
        for key, received in instances(row.images, primary=True).items():
            if key not in covered and not (until and received < until):
                if not any(not f.fragments and received <= f.at for f in finishes):
                    new.append(received)
        known = {key for f in finishes for key in f.reports}
        for order in row.orders:
            if status(order) == "withdrawn":
                word = last_word(kind(order, ReportReceived), "status")
                if word and word[0].key not in known and (finishes or until):
                    new.append(word[0].received)
            elif status(order) in ("open", "preliminary"):
                first = min(f.received for f in order)
                if not known & {f.key for f in order} and first > max(ends):
                    new.append(first)
        return min(new, default=None)

    def historic(self, row: Row) -> bool:
        """All images old at first receipt, none from a modality, and nothing ever named them."""
        if row.orders or kind(row.others, ExamProgressed) or self.done(row, "promote"):
            return False
        limit = timedelta(days=self.historic_days)
        return all(
            f.event.kind != "modality"  # type: ignore[union-attr]
            and f.event.acquired_at is not None  # type: ignore[union-attr]
            and f.received - f.event.acquired_at > limit  # type: ignore[union-attr]
            for f in row.images
            if f.event.readable  # type: ignore[union-attr]
        )

    def clock(self, row: Row) -> datetime:
        """The earliest over the images of the acquisition, if believed, else of the receipt."""
        times = []
        for (series, name), received in instances(row.images).items():
            for fact in row.images:
                event = fact.event
                assert isinstance(event, SeriesReceived)
                if (
                    event.series_uid == series
                    and name in event.names()
                    and fact.received == received
                ):
                    taken = event.acquired_at
                    believed = taken and received - timedelta(days=1) <= taken <= received
                    times.append(taken if believed and taken else received)
        return min(times, default=min(f.received for f in row.facts))

    def flagged(self, row: Row) -> bool:
        """Some flag stands: no person withdrew it."""
        cleared = {
            (c.package, c.series_uid, c.input_digest)
            for a in self.done(row, "clear_flag")
            for c in a.cleared
        }
        return any(
            f.event.outcome == "flagged"
            and (f.event.package, f.event.series_uid, f.event.input_digest) not in cleared
            for f in row.facts
            if isinstance(f.event, FindingsMade)
        )


def partition_by_number(facts: list[Fact]) -> list[list[Fact]]:
    """What numbers connect."""
    return partition_facts(facts)


def partition_facts(facts: list[Fact]) -> list[list[Fact]]:
    by_key = {fact.key: fact for fact in facts}
    groups = partition(by_key, lambda a, b: meet([by_key[a]], [by_key[b]]))
    return [[by_key[key] for key in group] for group in groups]
