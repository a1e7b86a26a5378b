"""Orders: where one stands, how urgent it is, and by what ids its members are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial

from streams.events import ExamProgressed, Number, OrderChanged, ReportReceived, VersionKey
from worklist.record.facts import (
    Fact,
    Name,
    accessions,
    node,
    order_numbers,
    stands,
    text_of,
    winners,
)
from worklist.record.groups import Groups
from worklist.record.persons import Person
from worklist.record.world import World

_ENDS = frozenset({"cancelled", "replaced"})
_STATUS = text_of("status")
#: What a corrected report replaces and covers is a final one: alone it closes nothing.
_FINAL = frozenset({"final", "corrected"})
#: Of what one message says twice of one order, what leaves it open stands.
_LEAVES_OPEN = {"preliminary": 1, "withdrawn": 2, "performed": 1, "in_progress": 2, "scheduled": 3}
#: So long a word that somebody reads it elsewhere holds, if no report ends it sooner.
READING_FOR = timedelta(minutes=30)


@dataclass(frozen=True)
class OrderState:
    """Where one order stands.

    Attributes:
        report: ``preliminary``, ``final``, ``withdrawn`` or empty.
        covered: first receipt of the newest final or corrected report, one that was withdrawn since
            too: it covers what came before. A report that is sent again is no new one.
        received: first receipt of the order.
        withdrawn: the word that withdrew it, and stands, as it was first received.
        withdrawn_keys: the facts that say that word.
        cancelled_at: first receipt of the cancel that stands; a repeat is no new one.
        unclear: a report, or a cancel, of the whole requisition came: which order it means cannot
            be told, so that it ended none.
        outcome_only: nobody sent the order, and its reports only correct or add, or there are none
            and somebody reads it elsewhere.
    """

    status: str
    report: str
    covered: datetime | None
    received: datetime
    reported_at: datetime | None
    withdrawn: Fact | None = None
    withdrawn_keys: frozenset[str] = frozenset()
    cancelled_at: datetime | None = None
    unclear: bool = False
    outcome_only: bool = False

    @property
    def cancelled(self) -> bool:
        """The sender ended it."""
        return self.status in _ENDS

    @property
    def final(self) -> bool:
        """Its report is final."""
        return self.report == "final"

    @property
    def open(self) -> bool:
        """It still waits for somebody."""
        return not (self.cancelled or self.final or self.outcome_only)


@dataclass
class Order:
    """One imaging order: all that was said of it, its reports, and whose it is.

    Attributes:
        wide: keys of what names only the requisition, or only the accession, and so speaks of other
            orders too.
    """

    person: Person
    said: list[Fact] = field(default_factory=list)
    reports: list[Fact] = field(default_factory=list)
    wide: frozenset[str] = frozenset()

    @property
    def facts(self) -> list[Fact]:
        """All of them; a report is evidence of an order that nobody sent."""
        return [*self.said, *self.reports]

    @cached_property
    def state(self) -> OrderState:
        """Where it stands; asked only when its reports are placed."""
        return order_state(self)

    @cached_property
    def sent(self) -> list[Fact]:
        """What orders it: that somebody reads it is no order."""
        return [fact for fact in self.said if not _reading(fact)]

    @cached_property
    def not_imaging(self) -> bool:
        """Whether each source that says what it is says that it is no imaging; a report is."""
        told = [told for _, told in winners(self.said, _imaging).values()]
        return bool(told) and not any(told) and not self.reports

    @cached_property
    def reading(self) -> tuple[datetime, str] | None:
        """Until when somebody reads it elsewhere, and who says so; a report after that ends it."""
        told = max(
            (f for f in self.said if _reading(f) and not self._unclear(f)),
            key=lambda f: (f.received, f.key),
            default=None,
        )
        if told is None or any(report.received >= told.received for report in self.reports):
            return None
        return told.received + READING_FOR, getattr(told.event, "sender", "")

    def _unclear(self, fact: Fact) -> bool:
        """Whether it may mean another order of the requisition; an accession is read as one."""
        return fact.key in self.wide and not accessions(fact.narrowing)

    @cached_property
    def priorities(self) -> list[tuple[datetime, str]]:
        """What each source says of its priority, and since when."""
        return _priorities(self)

    @cached_property
    def members(self) -> dict[str, Fact]:
        """Member id → the fact that was received first."""
        return members_of(self.facts, order_members)

    @property
    def known_as(self) -> frozenset[str]:
        """Its member ids."""
        return frozenset(self.members)


def _imaging(fact: Fact) -> bool | None:
    return fact.event.imaging if isinstance(fact.event, OrderChanged) else None


def _reading(fact: Fact) -> bool:
    return isinstance(fact.event, OrderChanged) and fact.event.reading


def order_state(order: Order) -> OrderState:
    """Where `order` stands.

    An addendum changes nothing, a correction of what was never final neither (only F closes). What
    speaks of several orders at once may reopen them, and ends none.
    """
    told_of = {f.key: f.event.status for f in order.reports if isinstance(f.event, ReportReceived)}
    vague = {key for key in order.wide & told_of.keys() if told_of[key] != "withdrawn"}
    kinds = {key: kind for key, kind in told_of.items() if key not in vague}
    was_final = "final" in kinds.values()
    counted = [
        f
        for f in order.reports
        if f.key in kinds
        and kinds[f.key] != "addendum"
        and (was_final or kinds[f.key] != "corrected")
    ]
    status = stands(order.said, partial(_status, order), _leaves_open)
    told = stands(counted, text_of("status"), _leaves_open)
    word = told[1] if told else ""
    words = _words(counted)
    covers = [same[0].received for same in words if kinds[same[0].key] in _FINAL]
    newest = next((same for same in words if told and told[0] in same), [])
    return OrderState(
        status=status[1] if status else "",
        report="final" if word in _FINAL else word,
        covered=max(covers, default=None),
        received=min(f.received for f in order.facts),
        reported_at=newest[0].received if newest and word != "withdrawn" else None,
        withdrawn=newest[0] if newest and word == "withdrawn" else None,
        withdrawn_keys=frozenset(f.key for f in newest if word == "withdrawn"),
        cancelled_at=_cancelled_at(order, status[0]) if status and status[1] in _ENDS else None,
        unclear=any(told_of[key] != "addendum" for key in vague)
        or any(_is_vague_end(order, fact) for fact in order.said),
        outcome_only=not order.sent and not counted and not vague,
    )


def _leaves_open(word: str) -> int:
    return _LEAVES_OPEN.get(word, 0)


def _words(reports: Sequence[Fact]) -> list[list[Fact]]:
    """The reports as different words, each with all that repeat it, the first received first.

    The same state with the same event time (OBR-22), or the same content, is the same word, whoever
    passes it on.
    """
    groups = Groups(range(len(reports)))
    first: dict[tuple[str, str, object], int] = {}
    for place, fact in enumerate(reports):
        event = fact.event
        assert isinstance(event, ReportReceived)
        groups.join(place, first.setdefault((event.status, "time", event.version.time), place))
        if event.content:
            groups.join(place, first.setdefault((event.status, "content", event.content), place))
    return [
        sorted((reports[place] for place in places), key=lambda fact: (fact.received, fact.key))
        for places in groups.sets().values()
    ]


def _status(order: Order, fact: Fact) -> str | None:
    """The status that a message states; that all orders of a requisition end says nothing."""
    return None if _is_vague_end(order, fact) else _STATUS(fact)


def _is_vague_end(order: Order, fact: Fact) -> bool:
    return fact.key in order.wide and _STATUS(fact) in _ENDS


def _cancelled_at(order: Order, winner: Fact) -> datetime:
    """First receipt of the cancels that a sender has said since it last said otherwise, and since
    anybody did: who passes a cancel on says nothing new.
    """
    runs: dict[str, datetime] = {}
    over: set[str] = set()
    for fact in sorted(order.said, key=lambda fact: fact.version, reverse=True):
        status, sender = _status(order, fact), getattr(fact.event, "sender", "")
        if status in _ENDS and sender not in over:
            runs[sender] = min(runs.get(sender, fact.received), fact.received)
        elif status is not None:
            over.add(sender)
    stood = [f.received for f in order.said if _status(order, f) not in (None, *_ENDS)]
    own = runs[getattr(winner.event, "sender", "")]
    return min([own, *(at for at in runs.values() if not stood or at > max(stood))])


def _priorities(order: Order) -> list[tuple[datetime, str]]:
    """What each source says of an order's priority, and since when; it lowers only its own.

    What it says later of the whole requisition raises each order, and lowers none of which it
    had said more.
    """
    told: dict[str, list[_Said]] = defaultdict(list)
    of_all: dict[str, list[_Said]] = defaultdict(list)
    for fact in order.said:
        event = fact.event
        assert isinstance(event, OrderChanged)
        code = "unknown" if "priority" in event.emptied else event.priority
        if code is not None:
            heard = of_all if fact.key in order.wide else told
            heard[event.sender].append((fact.version, fact.received, code))
    found = []
    later = [
        versions
        for sender, versions in of_all.items()
        if sender not in told or max(versions)[0] >= max(told[sender])[0]
    ]
    for versions in [*told.values(), *later]:
        codes: dict[VersionKey, set[str]] = defaultdict(set)
        for version, _, code in versions:
            codes[version].add(code)
        # One message may say two things of one order: both are heard, and the highest stands.
        for code in codes[max(codes)]:
            since = max(versions)[1]
            for version, received, _ in sorted(versions, reverse=True):
                if code not in codes[version]:
                    break
                since = min(since, received)
            found.append((since, code))
    return sorted(found)


#: A version, its first receipt, and a priority.
_Said = tuple[VersionKey, datetime, str]


def order_members(fact: Fact) -> list[str]:
    """The member ids of an order by one of its messages: each of its numbers, as its patient's."""
    return [member for _, member in _named_members(fact)]


def _named_members(fact: Fact) -> list[tuple[Number, str]]:
    numbers = (*order_numbers(fact.numbers), *accessions(fact.numbers)) or fact.numbers
    return [(n, member_id("order", (n.kind, n.authority, n.value), fact)) for n in numbers]


def joining_members(order: Order, world: World) -> dict[str, Fact]:
    """The member ids of an order by the numbers that join something: what a bad number names is no
    one thing.
    """

    def ids(fact: Fact) -> list[str]:
        return [
            member
            for number, member in _named_members(fact)
            if not world.joins_nothing(Name(number, fact.patient))
        ]

    return members_of(order.facts, ids)


def study_member(uid: str, fact: Fact) -> str:
    """The member id of a study by one of its fragments or steps: its UID, as its patient's."""
    return member_id("study", (uid,), fact)


def fact_member(fact: Fact) -> str:
    """The id by which a row is known of which every other id is another row's."""
    return member_id("fact", (fact.key,), fact)


def step_members(fact: Fact) -> list[str]:
    """The member ids of a step: its UID, as its patient's; without one, each of its numbers."""
    if not isinstance(fact.event, ExamProgressed):
        return []
    steps = [n for n in fact.numbers if n.kind == "step"]
    return [member_id("step", (n.kind, n.authority, n.value), fact) for n in steps or fact.numbers]


def member_id(kind: str, names: tuple[str, ...], fact: Fact) -> str:
    """The id of what `names` name, as the patient's whom `fact` states."""
    patient = fact.patient
    who = (patient.authority, patient.value) if patient else ("", "")
    born = (fact.identity.birth_date or "") if fact.identity else ""
    return node("member", kind, *names, *who, born)[1:]


def members_of(facts: Iterable[Fact], ids: Callable[[Fact], Iterable[str]]) -> dict[str, Fact]:
    """Member id → the fact that was received first."""
    found: dict[str, Fact] = {}
    for fact in facts:
        for member in ids(fact):
            old = found.get(member)
            if old is None or (fact.received, fact.key) < (old.received, old.key):
                found[member] = fact
    return found
