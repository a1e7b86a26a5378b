"""A plain model of what is one row, and of what persons did: the oracle of the record's tests.

Slow and simple on purpose, written from the rules in words and not from the code that it judges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from streams.events import (
    ActDone,
    ExamProgressed,
    FindingsMade,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
)
from tests.worklist.record.model_ai import word_of
from tests.worklist.record.model_numbers import History, kind, meet, numbers, partition
from tests.worklist.record.model_orders import (
    URGENCY,
    cancelled_since,
    final_at,
    first_said,
    last_word,
    repeats,
    said,
    sent,
    status,
)
from tests.worklist.record.model_people import Person, certainly_two, partition_facts, people
from tests.worklist.record.model_rows import Row, near, rest_of, rows_of, settled
from worklist.record.acts import Act
from worklist.record.facts import Fact


@dataclass
class Shape:
    """What the model says of a row; `since`: first receipt of what is new since it was read."""

    uid: str
    facts: frozenset[str]
    priority: str
    conflict: bool
    borrowed: bool
    state: str
    open: bool
    since: datetime | None
    clock: datetime
    ai: str


def instances(facts: Iterable[Fact]) -> dict[tuple[str, str], list[Fact]]:
    """Each readable instance: the fragments that have it, the earliest received first."""
    found: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda f: f.received):
        event = fact.event
        if isinstance(event, SeriesReceived) and event.readable:
            for name in event.names():
                found[(event.series_uid, name)].append(fact)
    return found


def exams(row: Row) -> set[str]:
    """How far its steps are: an end is one, whatever comes after."""
    found: dict[str, set[str]] = defaultdict(set)
    for fact in kind(row.others, ExamProgressed):
        steps = [n.value for n in fact.event.numbers if n.kind == "step"]  # type: ignore[union-attr]
        found[steps[0] if steps else ""].add(fact.event.status)  # type: ignore[union-attr]
    ends = ("completed", "available", "discontinued", "in_progress")
    return {next(end for end in ends if end in said) for said in found.values()}


def flags_of(row: Row) -> list[Fact]:
    return [f for f in kind(row.facts, FindingsMade) if f.event.outcome == "flagged"]  # type: ignore[union-attr]


@dataclass
class Model:
    """The rows of a set of facts and acts.

    `names` says by which ids a fact on a row of such a study UID can be named.
    """

    facts: list[Fact]
    names: Callable[[str, Fact], list[str]]
    historic_days: float = 7
    rows: list[Row] = field(default_factory=list)
    persons: list[Person] = field(default_factory=list)

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
            for patient in (fact.patient, getattr(fact.event, "retired", None)):
                if patient and patient.authority:
                    authorities[patient.value].add(patient.authority)
        history = History(kind(known, PatientChanged, PatientMerged), dict(authorities))
        told = (PatientChanged, PatientMerged, ActDone)
        groups = partition_facts([f for f in known if not isinstance(f.event, told)])
        for places in partition(range(len(groups)), lambda a, b: self.linked(groups[a], groups[b])):
            self.component([groups[place] for place in places], history)

    def linked(self, one: list[Fact], other: list[Fact]) -> bool:
        """Whether a person linked an order of one with a study of the other."""

        def known(group: list[Fact]) -> set[str]:
            found = set()
            for fact in group:
                if isinstance(fact.event, OrderChanged | ReportReceived):
                    found |= set(self.names("-", fact))
                for uid in (n.value for n in numbers(fact) if n.kind == "study"):
                    found |= set(self.names(uid, fact)[:1])
            return found

        mine, theirs = known(one), known(other)
        ends = [{a.order, a.item} for a in self.acts if a.act == "link" and a.order]
        return any(end & mine and end & theirs for end in ends)

    def component(self, groups: list[list[Fact]], history: History) -> None:
        """Adds the rows of one component, or of several that a person linked: each its persons."""
        split = [person for facts in groups for person in people(facts, history)]
        made = [(person, *rows_of(person)) for person in split]
        self.persons += [person for person, _, _ in made]
        studies = [row for _, rows, _ in made for row in rows]
        orders = [order for _, _, orders in made for order in orders]
        for act in self.acts:
            if act.act in ("link", "unlink"):
                row = self.owner(act.item, studies)
                for order in orders if row else ():
                    if any(act.order in self.names("-", f) for f in order):
                        assert row
                        row.said[id(order)] = act.act
                        row.orders = [o for o in row.orders if o is not order]
                        row.orders += [order] if act.act == "link" else []
        taken = [order for row in studies for order in row.orders]
        for person, rows, mine in made:
            free = [o for o in mine if not any(o is other for other in taken)]
            self.rows += rest_of(person, rows, free)

    def shapes(self) -> list[Shape]:
        return [self.shape(row) for row in self.rows]

    def owner(self, member: str, rows: list[Row]) -> Row | None:
        """The row that an act on `member` is about: the one whose images came first."""

        def first(row: Row) -> tuple[bool, datetime, str, str, list[str]]:
            came = min(row.images or row.facts, key=lambda f: (f.received, f.key))
            keys = sorted(f.key for order in row.orders for f in order)
            return not row.images, came.received, row.uid, came.key, keys

        for part in ("study", "order"):
            claim = [row for row in rows if member in self.members(row, part)]
            if claim:
                return min(claim, key=first)
        return None

    def members(self, row: Row, part: str) -> set[str]:
        facts = [f for order in row.orders for f in order]
        if part == "study":
            facts = [*row.images, *row.others]
        return {m for f in facts for m in self.names(row.uid if part == "study" else "-", f)}

    def done(self, row: Row, *names: str) -> list[Act]:
        """What persons did to this row."""
        return [a for a in self.acts if a.act in names and self.owner(a.item, self.rows) is row]

    def finishes(self, row: Row) -> list[Act]:
        """A finish is of the fragments that it lists, and of the person whose row it was."""
        found = []
        for act in self.acts:
            owner = self.owner(act.item, self.rows)
            if act.act == "finish" and owner and owner.person is row.person:
                listed = any(f.key in act.fragments for f in row.images)
                if listed if act.fragments else owner is row:
                    found.append(act)
        return found

    def shape(self, row: Row) -> Shape:
        near = [r for r in self.rows if r.person is not row.person and meet(r.facts, row.facts)]
        here = instances(row.images)
        told = kind(row.others, ExamProgressed)
        exist = bool(here) or any(f.event.status == "available" for f in told)  # type: ignore[union-attr]
        stati = [status(o) for o in row.orders]
        since = self.since(row)
        flagged = bool(self.flags(row))
        ended = bool(stati) and set(stati) <= {"final", "cancelled", "outcome"}
        known = set(stati) == {"outcome"} and any(kind(o, ReportReceived) for o in row.orders)
        reported = ended and ("final" in stati or (not exist and known))
        gone = bool(stati) and set(stati) == {"cancelled"}
        confirmed = self.done(row, "confirm_cancel", "reopen")[-1:]
        confirmed = [
            a
            for a in confirmed
            if a.act == "confirm_cancel" and all(had[0].received <= a.at for had in here.values())
            if all((at := cancelled_since(o)) is None or at <= a.at for o in row.orders)
            if all(f.event.screened_at <= a.at for f in flags_of(row))  # type: ignore[union-attr]
        ]
        if since is None and reported:
            state = "final"
        elif since is None and gone and (not exist or confirmed):
            state = "cancelled"
        elif since is None and self.finishes(row):
            state = "read"
        elif here and not flagged and self.historic(row):
            state = "historic"
        elif exist or flagged:
            waits = set(stati) - {"final", "cancelled", "outcome"}
            state = "preliminary" if waits == {"preliminary"} and since is None else "readable"
        elif exams(row) == {"discontinued"} and not row.orders and not row.images:
            state = "cancelled"
        else:
            state = "arriving" if self.moves(row) else "expected"
        priority, borrowed = self.priority(row)
        return Shape(
            uid=row.uid,
            facts=frozenset(f.key for f in row.facts),
            priority=priority,
            conflict=any(not settled(row, r) for r in near),
            borrowed=borrowed,
            state=state,
            open=state not in ("read", "final", "cancelled", "historic"),
            since=since,
            clock=since or self.clock(row),
            ai=word_of(row.images, row.others, stands=flagged),
        )

    def moves(self, row: Row) -> bool:
        """Whether somebody says that the exam is under way."""
        words = [last_word(kind(o, OrderChanged), "status") for o in row.orders]
        said = {w[1] for w in words if w}
        said |= exams(row)
        return bool(row.images) or bool(said & {"in_progress", "completed", "performed"})

    def priority(self, row: Row) -> tuple[str, bool]:
        """The highest of its own open orders and of what is lent; then what a person said."""
        ended = ("final", "cancelled", "outcome")
        own = [o for o in row.orders if status(o) not in ended]
        lent = {}
        for other in self.rows:
            for order in other.orders if row.uid and other.person is not row.person else ():
                mine = id(order) in row.said or any(order is o for o in row.orders)
                two = certainly_two(row.person, self.whose(order))
                # What is said of one of its orders without its patient may be its own, too.
                linked = any(r.said.get(id(order)) == "link" for r in self.rows)
                if mine or linked or status(order) in ended:
                    continue
                if not meet(order, row.study() if two else row.facts):
                    continue
                # The same patient number and order number, with a date that nobody corrected.
                told = [f for o in row.orders for f in o]
                alike = two and any(w[0] for w in self.whose(order).who & row.person.who)
                same = alike and near(kind(order, OrderChanged), told, "placer", "filler")
                if self.whose(order) is not row.person and (same or not (own and two)):
                    lent[id(order)] = order
        told = [said(order) for order in [*(own or row.orders), *lent.values()]]
        found = {c for words in told for c, _ in words}
        found |= set() if row.orders and all(told) else {"unknown"}
        person = self.done(row, "set_priority")[-1:]
        of_orders = [a for o in [*own, *lent.values()] for a in self.set_on(o)[-1:]]
        found |= {a.code for a in of_orders}
        if person:
            found = {c for words in told for c, since in words if since > person[0].at}
            found |= {a.code for a in of_orders if a.at > person[0].at}
            found.add(person[0].code)
        return min(found, key=URGENCY.index), bool(lent)

    def set_on(self, order: list[Fact]) -> list[Act]:
        """The priorities that a person gave an order, by one of its own ids."""
        ids = {m for f in order for m in self.names("-", f)}
        return [a for a in self.acts if a.act == "set_priority" and a.item in ids]

    def whose(self, order: list[Fact]) -> Person:
        """A linked order stays its patient's."""
        return next(p for p in self.persons if any(f is order[0] for f in p.facts))

    def since(self, row: Row) -> datetime | None:
        """First receipt of what is new since somebody, or a final report, had closed the row."""
        finishes = self.finishes(row)
        fragments = {key for f in finishes for key in f.fragments}
        known = {key for f in finishes for key in f.reports}
        finals = [at for order in row.orders if (at := final_at(order))]
        new: list[datetime] = []
        old: list[list[Fact]] = []
        for order in row.orders:
            first = min((f.received for f in sent(order)), default=None)
            is_new = (
                first
                and not known & {f.key for f in sent(order)}
                and (bool(finishes) or (bool(finals) and first > max(finals)))
            )
            word = status(order)
            if word == "withdrawn":
                withdrawn = last_word(kind(order, ReportReceived), "status")
                assert withdrawn
                again = repeats(order, withdrawn[0])
                if not known & {f.key for f in again}:
                    new.append(min(f.received for f in again))
                old.append(order)
            elif word == "open" and not kind(order, ReportReceived) and is_new:
                new.append(first)
            else:
                old.append(order)
        over = {"final", "cancelled", "outcome"}
        closed = finals and all(
            status(o) in over or (status(o) == "withdrawn" and final_at(o)) for o in old
        )
        until = max(finals) if closed else None
        if not finishes and until is None:
            return self.since_preliminary(row)
        covered = instances([f for f in row.images if f.key in fragments])
        for key, having in instances(row.images).items():
            primary = any(f.event.primary for f in having)  # type: ignore[union-attr]
            in_report = until is not None and having[0].received < until
            if primary and key not in covered and not in_report:
                new.append(having[0].received)
        ends = [f.at for f in finishes] + ([until] if until else [])
        new += [a.at for a in self.done(row, "reopen")[-1:] if a.at > max(ends)]
        new += [at for at in self.flags_on_unseen(row) if at > max(ends)]
        return min(new, default=None)

    def since_preliminary(self, row: Row) -> datetime | None:
        """What came after the last preliminary report, where nothing else waits."""
        waiting = [o for o in row.orders if status(o) not in ("final", "cancelled", "outcome")]
        if not waiting or any(status(o) != "preliminary" for o in waiting):
            return None
        words = [(o, last_word(kind(o, ReportReceived), "status")) for o in waiting]
        told = max(first_said(o, word[0]).received for o, word in words if word)
        new = [at for at in self.flags_on_unseen(row) if at > told]
        for having in instances(row.images).values():
            primary = any(f.event.primary for f in having)  # type: ignore[union-attr]
            new += [having[0].received] if primary and having[0].received >= told else []
        return min(new, default=None)

    def flags_on_unseen(self, row: Row) -> list[datetime]:
        """Standing flags on a series of which nothing is here."""
        here = {f.event.series_uid for f in row.images}  # type: ignore[union-attr]
        flags = [f.event for f in self.flags(row)]
        return [e.screened_at for e in flags if e.series_uid not in here]  # type: ignore[union-attr]

    def historic(self, row: Row) -> bool:
        """All images old at first receipt, none from a modality, and nothing ever named them."""
        steps = [f for f in kind(row.others, ExamProgressed) if f.event.status != "available"]  # type: ignore[union-attr]
        lent = any(
            meet(order, row.study())
            for r in self.rows
            for order in r.orders
            if r.person is not row.person
            and id(order) not in row.said
            and not any(x.said.get(id(order)) == "link" for x in self.rows)
        )
        if row.orders or steps or lent or row.person.alone or self.done(row, "promote"):
            return False
        events = [f.event for f in row.images if isinstance(f.event, SeriesReceived)]
        limit = timedelta(days=self.historic_days)
        return all(
            e.kind != "modality" and e.acquired_at and e.received_at - e.acquired_at > limit
            for e in events
            if e.readable
        )

    def clock(self, row: Row) -> datetime:
        """The earliest over the images of the acquisition, if believed, else of the receipt."""
        times = []
        for having in instances(row.images).values():
            received = having[0].received
            taken = [f.event.acquired_at for f in having]  # type: ignore[union-attr]
            day = timedelta(days=1)
            believed = [t for t in taken if t and received - day <= t <= received]
            times.append(min(believed, default=received))
        return min(times, default=min(f.received for f in row.facts))

    def flags(self, row: Row) -> list[Fact]:
        """The flags that stand: no person withdrew them."""
        cleared = {
            (c.package, c.series_uid, c.input_digest)
            for a in self.done(row, "clear_flag")
            for c in a.cleared
        }
        return [
            f
            for f in flags_of(row)
            if isinstance(e := f.event, FindingsMade)
            and (e.package, e.series_uid, e.input_digest) not in cleared
        ]
