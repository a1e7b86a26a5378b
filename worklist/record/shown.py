"""What a row shows of patient, place and exam: each group of fields from its newest version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.events import (
    Identity,
    OrderChanged,
    OtherNumber,
    PatientChanged,
    ReportReceived,
    SeriesReceived,
)
from worklist.record.facts import Fact, Value, stands, text_of, time_of
from worklist.record.identities import Root
from worklist.record.relate import Component, Related

#: A visit that is only planned is nobody's place yet (pre-admission, pending admit).
_PLANNED = frozenset({"A05", "A14", "A38", "A27"})


@dataclass(frozen=True)
class Shown:
    """The row's own words."""

    identity: Identity
    doubtful_name: bool
    location: str
    modality: str
    body_part: str
    description: str
    subspecialty: str
    site: str
    scheduled_at: datetime | None


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

    times = stands(orders, time_of("scheduled_at"))
    return Shown(
        identity=identity,
        doubtful_name=identity.doubtful,
        location=_location(orders, about),
        modality=of_image("modality") or of_order("modality"),
        body_part=of_image("body_part") or of_order("body_part"),
        description=of_order("description") or of_image("description"),
        subspecialty=of_order("subspecialty"),
        site=_site(orders) or of_image("site"),
        scheduled_at=times[1][0] if times else None,
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
    Images without a number show their order's.
    """
    orders = [o for o in row.orders if o.person == row.person or row.person.root is None]
    ris = [*(fact for order in orders for fact in order.said), *about]
    reports = [f for o in orders for f in o.reports if isinstance(f.event, ReportReceived)]
    sources: list[Sequence[Fact]] = [ris, [*reports, *row.study_facts()]]

    def first(read: Callable[[Identity], Value | None]) -> Value | None:
        for facts in sources:
            told = stands(facts, lambda f: read(f.identity) if f.identity else None)
            if told is not None:
                return told[1]
        return None

    number = _number(row, [f for facts in sources for f in facts])
    return Identity(
        patient_id=number.patient_id if number else "",
        issuer=number.issuer if number else "",
        name=first(lambda i: i.name) or "",
        birth_date=row.person.born or first(lambda i: i.birth_date) or "",
        sex=first(lambda i: i.sex) or "",
        others=first(lambda i: i.others or None) or _NO_OTHERS,
        doubtful=any(f.identity.doubtful for facts in sources for f in facts if f.identity),
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
    """Where the patient is: of the order's own visit, else the newest word about a current one."""
    visits = {n.value for f in orders for n in f.stated if n.kind == "visit"}
    moved = [
        f
        for f in about
        if isinstance(f.event, PatientChanged)
        and f.event.event not in _PLANNED
        and (f.event.visit in visits if visits else not f.event.ended)
    ]
    ordered = [f for f in orders if isinstance(f.event, OrderChanged)]
    told = stands([*ordered, *moved], text_of("location"))
    return told[1] if told else ""
