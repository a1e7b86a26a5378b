"""What a row shows of patient, place and exam: each group of fields from its newest version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.events import OrderChanged, PatientChanged, ReportReceived, SeriesReceived
from streams.sealed import Identity, OtherNumber
from worklist.record.facts import Fact, Value, stands, text_of, time_of
from worklist.record.identities import Root
from worklist.record.persons import fold
from worklist.record.relate import Component
from worklist.record.rows import Related

#: A visit that is only planned is nobody's place yet (pre-admission, pending admit).
_PLANNED = frozenset({"A05", "A14", "A38", "A27"})

#: What says something of a patient, and nothing of the course of a visit.
_NO_COURSE = _PLANNED | {"A08", "A28", "A31"}


@dataclass(frozen=True)
class Shown:
    """The row's own words.

    Attributes:
        changed: something of the row was said under another name and another birth date.
    """

    identity: Identity
    doubtful_name: bool
    changed: bool
    location: str
    modality: str
    body_part: str
    description: str
    subspecialty: str
    site: str
    scheduled_at: datetime | None
    indication: str
    referring: str


def shown(row: Related, component: Component) -> Shown:
    """What `row` shows."""
    orders = [fact for order in row.orders for fact in order.said]
    images = sorted(
        (f for f in row.series if isinstance(f.event, SeriesReceived)),
        key=lambda f: (
            isinstance(f.event, SeriesReceived) and not f.event.readable,
            f.received,
            f.key,
        ),
    )
    first = images[0].event if images else None
    about = _about(row, component)
    identity = _identity(row, about)

    def of_order(name: str) -> str:
        told = stands(orders, text_of(name))
        return told[1] if told else ""

    def of_image(name: str) -> str:
        return str(getattr(first, name, "") or "")

    def beside(name: str) -> str:
        """What an order says under seal; a message that leaves it empty does not mention it."""
        told = stands(orders, lambda fact: getattr(fact.details, name, "") or None)
        return told[1] if told else ""

    times = stands(orders, time_of("scheduled_at"))
    return Shown(
        identity=identity,
        doubtful_name=identity.doubtful,
        changed=bool(row.series) and _changed(identity, [*row.facts, *about]),
        location=_location(orders, about),
        modality=of_image("modality") or of_order("modality"),
        body_part=of_image("body_part") or of_order("body_part"),
        description=of_order("description") or of_image("description"),
        subspecialty=of_order("subspecialty"),
        site=_site(orders) or of_image("site"),
        scheduled_at=times[1][0] if times else None,
        indication=beside("indication"),
        referring=", ".join(filter(None, (beside("referrer"), beside("call_back")))),
    )


def _site(orders: Sequence[Fact]) -> str:
    told = stands(orders, text_of("site"))
    return told[1] if told else ""


def _about(row: Related, component: Component) -> list[Fact]:
    """The identity messages about the row's person, under every number of its own."""
    found: dict[str, Fact] = {}
    for root in roots_of(row, component):
        for fact in component.history.said(root):
            found[fact.key] = fact
    return [found[key] for key in sorted(found)]


def roots_of(row: Related, component: Component) -> list[Root]:
    """The numbers of the row's person."""
    numbers = component.people.authorities.get(row.person, {})
    found = {root for roots in numbers.values() for root in roots}
    if row.person.root:
        found.add(row.person.root)
    return sorted(found)


def _identity(row: Related, about: Sequence[Fact]) -> Identity:
    """Who the patient is: what RIS and EHR say, before what images say.

    An order that a person linked to another's images names nobody here: it stays its patient's.
    Images without a number show their order's. What is shown beside the birth date is of those who
    state that date, where anybody does: never one person's name and another's date.
    """
    orders = [o for o in row.orders if o.person == row.person or row.person.root is None]
    ris = [*(fact for order in orders for fact in order.said), *about]
    reports = [f for o in orders for f in o.reports if isinstance(f.event, ReportReceived)]
    sources: list[Sequence[Fact]] = [ris, [*reports, *row.study_facts()]]

    born = row.person.born
    alike = [[f for f in facts if not _other_date(f, born)] for facts in sources]

    def first(read: Callable[[Identity], Value | None]) -> Value | None:
        for facts in (*alike, *sources):
            told = stands(facts, lambda f: read(f.identity) if f.identity else None)
            if told is not None:
                return told[1]
        return None

    number = _number(row, [f for facts in sources for f in facts])
    return Identity(
        patient_id=number.patient_id if number else "",
        issuer=number.issuer if number else "",
        name=first(lambda i: i.name) or "",
        birth_date=born or first(lambda i: i.birth_date) or "",
        sex=first(lambda i: i.sex) or "",
        others=first(lambda i: i.others or None) or _NO_OTHERS,
        doubtful=any(f.identity.doubtful for facts in sources for f in facts if f.identity),
    )


def _other_date(fact: Fact, born: str) -> bool:
    stated = fact.identity.birth_date if fact.identity else None
    return bool(born and stated and stated != born)


def _changed(shown_as: Identity, facts: Iterable[Fact]) -> bool:
    """Whether something was said under another name and another date: perhaps of somebody else.

    A number that is given out again without A28 (an A04) does that; so does a merge by mistake.
    """
    name, born = fold(shown_as.name or ""), shown_as.birth_date
    said = {(i.name, i.birth_date) for f in facts if (i := f.identity) and i.name and i.birth_date}
    return bool(name and born) and any(
        date != born and fold(other or "") != name for other, date in said
    )


_NO_OTHERS: tuple[OtherNumber, ...] = ()


def _number(row: Related, facts: Iterable[Fact]) -> Identity | None:
    """The number that stands: the survivor's after merges, not a retired one."""
    told = [f for f in facts if f.identity and f.identity.patient_id and f.patient]
    root = row.person.root
    if root is not None:
        mine = [
            f
            for f in told
            if f.patient and (f.patient.authority, f.patient.value) == (root.authority, root.value)
        ]
        told = mine or [f for f in told if f.patient and f.patient.value == root.value] or told
    newest = max(told, key=lambda f: f.place, default=None)
    return newest.identity if newest else None


def _location(orders: Sequence[Fact], about: Sequence[Fact]) -> str:
    """Where the patient is: of the order's own visit while that is current, else the newest word
    about a current one. A visit that ended, or was cancelled, is nobody's place.
    """
    moves = [f for f in about if isinstance(f.event, PatientChanged)]
    over = _ended(moves)
    ordered = [
        f
        for f in orders
        if isinstance(f.event, OrderChanged) and (not _visits(f) or _visits(f) - over)
    ]
    visits = {visit for f in orders for visit in _visits(f)} - over
    moved = [
        f
        for f in moves
        if isinstance(f.event, PatientChanged)
        and f.event.event not in _PLANNED
        and _visit(f) not in over
        and (not visits or f.event.visit in visits)
    ]
    told = stands([*ordered, *moved], text_of("location"))
    return told[1] if told else ""


def _visits(fact: Fact) -> set[str]:
    return {number.value for number in fact.stated if number.kind == "visit"}


def _visit(fact: Fact) -> str:
    """The visit that a message is about; empty: the one without a number."""
    return getattr(fact.event, "visit", None) or ""


def _ended(moves: Iterable[Fact]) -> set[str]:
    """The visits of which the newest word about their course is that they ended."""
    newest: dict[str, Fact] = {}
    for fact in sorted(moves, key=lambda fact: fact.place):
        if getattr(fact.event, "event", "") not in _NO_COURSE:
            newest[_visit(fact)] = fact
    return {visit for visit, fact in newest.items() if getattr(fact.event, "ended", False)}
