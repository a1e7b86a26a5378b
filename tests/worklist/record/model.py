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
from tests.worklist.record.model_numbers import History, kind, meet
from tests.worklist.record.model_people import Person, certainly_two, partition_facts, people
from tests.worklist.record.model_rows import Row, rest_of, rows_of, settled
from worklist.record.acts import Act
from worklist.record.facts import Fact

URGENCY = ("stat", "urgent", "unknown", "routine")


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
    """``final``, ``preliminary``, ``withdrawn``, ``cancelled``, ``outcome`` or ``open``.

    Only F closes: C closes again what F had closed, A changes nothing.
    """
    told = [(f, f.event.status) for f in kind(order, ReportReceived)]  # type: ignore[union-attr]
    was_final = any(said == "final" for _, said in told)
    counted = [f for f, said in told if said != "addendum" and (was_final or said != "corrected")]
    word = last_word(counted, "status")
    if word and word[1] in ("final", "corrected"):
        return "final"
    ris = last_word(kind(order, OrderChanged), "status")
    if ris and ris[1] in ("cancelled", "replaced"):
        return "cancelled"
    if told and not counted and not kind(order, OrderChanged):
        return "outcome"
    return word[1] if word else "open"


def final_at(order: list[Fact]) -> datetime | None:
    """Receipt of the newest F or of a C after one, though it was withdrawn since."""
    said = {f.received: f.event.status for f in kind(order, ReportReceived)}  # type: ignore[union-attr]
    found = [
        f.received for f in kind(order, ReportReceived) if f.event.status in ("final", "corrected")
    ]  # type: ignore[union-attr]
    return max(found) if "final" in said.values() else None


def instances(facts: Iterable[Fact]) -> dict[tuple[str, str], list[Fact]]:
    """Each readable instance: the fragments that have it, the earliest received first."""
    found: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda f: f.received):
        event = fact.event
        if isinstance(event, SeriesReceived) and event.readable:
            for name in event.names():
                found[(event.series_uid, name)].append(fact)
    return found


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
            if fact.patient and fact.patient.authority:
                authorities[fact.patient.value].add(fact.patient.authority)
        history = History(kind(known, PatientChanged, PatientMerged), dict(authorities))
        told = (PatientChanged, PatientMerged, ActDone)
        for component in partition_facts([f for f in known if not isinstance(f.event, told)]):
            self.component(component, history)

    def component(self, facts: list[Fact], history: History) -> None:
        """Adds the rows of one component."""
        made = [(person, *rows_of(person)) for person in people(facts, history)]
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

        def first(row: Row) -> tuple[bool, datetime, str, str]:
            came = min(row.images or row.facts, key=lambda f: (f.received, f.key))
            return not row.images, came.received, row.uid, came.key

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
        flagged = self.flagged(row)
        ended = bool(stati) and set(stati) <= {"final", "cancelled", "outcome"}
        reported = ended and ("final" in stati or (not exist and set(stati) == {"outcome"}))
        gone = bool(stati) and set(stati) == {"cancelled"}
        confirmed = self.done(row, "confirm_cancel", "reopen")[-1:]
        confirmed = [
            a
            for a in confirmed
            if a.act == "confirm_cancel" and all(had[0].received <= a.at for had in here.values())
        ]
        if since is None and reported:
            state = "final"
        elif since is None and gone and (not exist or confirmed):
            state = "cancelled"
        elif here and not flagged and self.historic(row):
            state = "historic"
        elif exist or flagged:
            waits = set(stati) - {"final", "cancelled", "outcome"}
            state = "preliminary" if waits == {"preliminary"} and since is None else "readable"
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
            open=not (self.finishes(row) and since is None)
            and state not in ("final", "cancelled", "historic"),
            since=since,
            clock=since or self.clock(row),
            flagged=flagged,
        )

    def moves(self, row: Row) -> bool:
        """Whether somebody says that the exam is under way."""
        words = [last_word(kind(o, OrderChanged), "status") for o in row.orders]
        said = {w[1] for w in words if w}
        said |= {f.event.status for f in kind(row.others, ExamProgressed)}  # type: ignore[union-attr]
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
                if self.whose(order) is not row.person and not (own and two):
                    lent[id(order)] = order
        said = [self.said(order) for order in [*(own or row.orders), *lent.values()]]
        found = {c for words in said for c, _ in words}
        found |= set() if row.orders and all(said) else {"unknown"}
        person = self.done(row, "set_priority")[-1:]
        if person:
            found = {c for words in said for c, since in words if since > person[0].at}
            found.add(person[0].code)
        return min(found, key=URGENCY.index), bool(lent)

    def whose(self, order: list[Fact]) -> Person:
        """A linked order stays its patient's."""
        return next(p for p in self.persons if any(f is order[0] for f in p.facts))

    def said(self, order: list[Fact]) -> set[tuple[str, datetime]]:
        """What each source says of its priority, and since when it says so."""
        facts = kind(order, OrderChanged)
        found = set()
        for sender in {f.event.sender for f in facts}:  # type: ignore[union-attr]
            told = sorted(
                (f for f in facts if f.event.sender == sender),  # type: ignore[union-attr]
                key=lambda f: f.event.version_key(),  # type: ignore[union-attr]
            )
            words = [(w[1], f.received) for f in told if (w := last_word([f], "priority"))]
            if words:
                same_word = [words[-1]]
                for word in reversed(words[:-1]):
                    if word[0] != words[-1][0]:
                        break
                    same_word.append(word)
                code = words[-1][0] if words[-1][0] in URGENCY else "unknown"
                found.add((code, min(when for _, when in same_word)))
        return found

    def since(self, row: Row) -> datetime | None:
        """First receipt of what is new since somebody, or a final report, had closed the row."""
        finishes = self.finishes(row)
        fragments = {key for f in finishes for key in f.fragments}
        known = {key for f in finishes for key in f.reports}
        finals = [at for order in row.orders if (at := final_at(order))]
        new: list[datetime] = []
        old: list[list[Fact]] = []
        for order in row.orders:
            first = min(f.received for f in order)
            is_new = not known & {f.key for f in order} and (
                bool(finishes) or (bool(finals) and first > max(finals))
            )
            word = status(order)
            if word == "withdrawn":
                withdrawn = last_word(kind(order, ReportReceived), "status")
                assert withdrawn
                new += [withdrawn[0].received] if withdrawn[0].key not in known else []
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
            return None
        covered = instances([f for f in row.images if f.key in fragments])
        for key, having in instances(row.images).items():
            primary = any(f.event.primary for f in having)  # type: ignore[union-attr]
            in_report = until is not None and having[0].received < until
            if primary and key not in covered and not in_report:
                new.append(having[0].received)
        ends = [f.at for f in finishes] + ([until] if until else [])
        new += [a.at for a in self.done(row, "reopen")[-1:] if a.at > max(ends)]
        return min(new, default=None)

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

    def flagged(self, row: Row) -> bool:
        """Some flag stands: no person withdrew it."""
        cleared = {
            (c.package, c.series_uid, c.input_digest)
            for a in self.done(row, "clear_flag")
            for c in a.cleared
        }
        return any(
            e.outcome == "flagged" and (e.package, e.series_uid, e.input_digest) not in cleared
            for f in row.facts
            if isinstance(e := f.event, FindingsMade)
        )
