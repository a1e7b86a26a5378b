"""Facts to reading items: what is known of linked accessions and studies becomes rows.

Rows are a function of the *set* of facts, so any permutation and duplication of the same stamped
events gives the same rows (promise 5). A row is a reading item: several accessions read as one are
one row, one accession with several study UIDs is several rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.errors import ABSTENTIONS, Reason
from streams.events import (
    Event,
    ExamProgressed,
    FindingsMade,
    Identity,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
)
from worklist.order.policy import Policy
from worklist.order.rank import StudyFacts
from worklist.record.facts import Known, Merges, order_node, version_key
from worklist.record.grouping import _Group, _group

#: An image may have been acquired so long before its first receipt; more is a wrong clock.
_OLDEST_ACQUISITION = timedelta(hours=24)


@dataclass(frozen=True)
class Item:
    """A reading item as the facts have it; what persons did to it is kept on its row."""

    key: str  # natural: the smallest accession without images, else the study UID
    nodes: tuple[str, ...]
    accessions: tuple[str, ...]
    study_uid: str
    patient: str | None
    identity: Identity
    location: str
    priority: str
    priority_conflict: bool
    modality: str
    body_part: str
    description: str
    subspecialty: str
    site: str
    state: str
    received_at: datetime
    clock: datetime
    scheduled_at: datetime | None
    last_image_at: datetime | None
    report_at: datetime | None
    marks: tuple[str, ...]
    ai: str
    ai_reason: str
    flags: tuple[tuple[str, str, str], ...]  # (package, finding code, name)
    looked_for: tuple[str, ...]
    abstained: tuple[str, ...]
    readable: bool

    def rank_facts(
        self, *, pinned: bool, promoted: bool, cleared: Iterable[tuple[str, str]] = ()
    ) -> StudyFacts:
        """What `worklist.order.rank` needs; `cleared` are the (package, code) a person withdrew."""
        gone = set(cleared)
        return StudyFacts(
            study=self.key,
            received_at=self.received_at,
            clock=self.clock,
            readable=self.readable or promoted,
            scheduled_at=self.scheduled_at,
            pinned=pinned,
            order_class=self.priority,
            location=self.location,
            flags=tuple((p, c) for p, c, _ in self.flags if (p, c) not in gone),
            abstained=self.abstained,
        )


def derive(
    known: Mapping[str, Known], identities: Mapping[str, Identity], policy: Policy
) -> list[Item]:
    """The items of a closed group of facts, sorted by key. `identities` opens each seal that the
    facts carry.
    """
    merges = Merges(k.event for k in known.values() if isinstance(k.event, PatientMerged))
    groups = _group(known, identities, merges)
    patients: list[PatientChanged | PatientMerged] = [
        k.event for k in known.values() if isinstance(k.event, PatientChanged | PatientMerged)
    ]
    return sorted(
        (_item(g, identities, merges, patients, policy) for g in groups if g.all()),
        key=lambda i: i.key,
    )


def _newest(events: Iterable[Event]) -> Event | None:
    return max(events, key=version_key, default=None)


def _item(
    g: _Group,
    identities: Mapping[str, Identity],
    merges: Merges,
    patients: list[PatientChanged | PatientMerged],
    policy: Policy,
) -> Item:
    orders: list[OrderChanged] = [k.event for k in g.orders if isinstance(k.event, OrderChanged)]
    received = min(k.first_received for k in g.all())
    images, last_image = _images(g)
    patient, identity, location = _person(g, orders, identities, merges, patients)
    order = _newest(orders)
    first = next(
        (e for k in sorted(g.series, key=_seen_first) if isinstance(e := k.event, SeriesReceived)),
        None,
    )
    classes = {o.priority for o in orders if o.status not in ("cancelled", "replaced")} or {
        o.priority for o in orders
    }
    ai, reason, flags, looked, abstained = _ai(g, images, policy)
    state, marks, report_at = _state(g, orders, images, last_image, bool(flags), received, policy)
    return Item(
        key=(
            g.study_uid
            or min(g.accessions, default="")
            or next((f"{o.sender}:{o.order}" for o in orders), "")
        )
        + g.suffix,
        nodes=_names(g, orders),
        accessions=tuple(sorted(g.accessions)),
        study_uid=g.study_uid,
        patient=patient,
        identity=identity,
        location=location,
        priority=_highest(classes, policy),
        priority_conflict=len(classes) > 1,
        modality=(first.modality if first else "")
        or (order.modality if isinstance(order, OrderChanged) else ""),
        body_part=(first.body_part if first else "")
        or (order.body_part if isinstance(order, OrderChanged) else ""),
        description=(order.description if isinstance(order, OrderChanged) else "")
        or (first.description if first else ""),
        subspecialty=order.subspecialty if isinstance(order, OrderChanged) else "",
        site=(order.site if isinstance(order, OrderChanged) else "")
        or (first.site if first else ""),
        state=state,
        received_at=received,
        clock=_clock(orders, g.series, received),
        scheduled_at=min((o.scheduled_at for o in orders if o.scheduled_at), default=None),
        last_image_at=last_image,
        report_at=report_at,
        marks=marks,
        ai=ai,
        ai_reason=reason,
        flags=flags,
        looked_for=looked,
        abstained=abstained,
        readable=state in ("readable", "preliminary"),
    )


def _names(g: _Group, orders: list[OrderChanged]) -> tuple[str, ...]:
    """The item's own nodes: a corrected accession stays as an alias, an order number as the name it
    had before any accession.
    """
    found = {f"a:{a}" for a in g.accessions} | {
        f"a:{a}" for o in orders for a in o.previous_accessions
    }
    found |= {order_node(o) for o in orders if o.order}
    return tuple(sorted(found | ({f"u:{g.study_uid}"} if g.study_uid else set())))


def _seen_first(k: Known) -> tuple[bool, datetime, str, str]:
    event = k.event
    assert isinstance(event, SeriesReceived)
    return (not event.readable, k.first_received, event.series_uid, event.version.digest)


def _highest(classes: set[str], policy: Policy) -> str:
    """Of conflicting priorities the highest wins."""
    known = {policy.order_class(c) for c in classes} or {"unknown"}
    return min(
        known, key=lambda c: (c not in policy.emergent.classes, policy.classes[c].horizon, c)
    )


def _person(
    g: _Group,
    orders: list[OrderChanged],
    identities: Mapping[str, Identity],
    merges: Merges,
    patients: list[PatientChanged | PatientMerged],
) -> tuple[str | None, Identity, str]:
    """Patient, identity and location: each group of fields from its own newest version; RIS before
    images.
    """
    stated = next(
        (e.patient for e in (_newest(orders), *(k.event for k in g.all())) if e and e.patient), None
    )
    patient = merges.survivor(stated)
    about = [p for p in patients if merges.survivor(p.patient) == patient and patient]
    told: list[Event] = [e for e in (*orders, *about) if e.identity]
    told = told or [k.event for k in g.all() if k.event.identity]
    newest = _newest(told)
    identity = identities[newest.identity] if newest and newest.identity else Identity()
    moved: list[Event] = [p for p in about if isinstance(p, PatientChanged) and p.location]
    visits: list[Event] = [o for o in orders if o.location]
    visits += moved
    visit = _newest(visits)
    return patient, identity, getattr(visit, "location", "")


def _images(g: _Group) -> tuple[set[str], datetime | None]:
    """Names of all readable instances, and when the set last grew: a resend of what is here changes
    nothing.
    """
    seen: set[str] = set()
    grown: datetime | None = None
    for k in sorted(g.series, key=lambda k: (k.first_received, k.event.version.digest)):
        event = k.event
        if (
            isinstance(event, SeriesReceived)
            and event.readable
            and not seen.issuperset(event.instances)
        ):
            seen.update(event.instances)
            grown = k.first_received
    return seen, grown


def _clock(orders: list[OrderChanged], series: list[Known], received: datetime) -> datetime:
    """When waiting began: earliest acquisition, clamped; a new fact can only make it earlier."""
    ordered = [o.ordered_at for o in orders if o.ordered_at]
    readable = [
        (k.event, k.first_received)
        for k in series
        if isinstance(k.event, SeriesReceived) and k.event.readable
    ]
    if not readable:
        return min([received, *ordered])
    oldest = min([received - _OLDEST_ACQUISITION, *ordered])
    stated = (event.acquired_at if event.acquired_at is not None else at for event, at in readable)
    first = min(at for _, at in readable)
    return min(min(first, max(oldest, at)) for at in stated)


def _state(
    g: _Group,
    orders: list[OrderChanged],
    images: set[str],
    last_image: datetime | None,
    flagged: bool,
    received: datetime,
    policy: Policy,
) -> tuple[str, tuple[str, ...], datetime | None]:
    marks = {"identity_conflict"} if g.conflict else set()
    exams: set[str] = {k.event.status for k in g.exams if isinstance(k.event, ExamProgressed)}
    exist = bool(images) or "available" in exams
    report = max(g.reports, key=lambda k: version_key(k.event), default=None)
    status = report.event.status if report and isinstance(report.event, ReportReceived) else ""
    report_at = report.first_received if report and status != "cancelled" else None
    if status == "cancelled":
        marks.add("report_withdrawn")
    gone = bool(orders) and all(o.status in ("cancelled", "replaced") for o in orders)
    if gone and exist:
        marks.add("cancelled_images_exist")
    if status in ("final", "corrected"):
        if last_image and report_at and last_image > report_at:
            marks.add("new_images_since_report")
            return "readable", tuple(sorted(marks)), report_at
        return "final", tuple(sorted(marks)), report_at
    if gone and not exist:
        return "cancelled", tuple(sorted(marks)), report_at
    if status == "preliminary" and exist:
        return "preliminary", tuple(sorted(marks)), report_at
    return (
        _open_state(g, orders, images, exist, exams, flagged, received, policy, marks),
        tuple(sorted(marks)),
        report_at,
    )


def _open_state(
    g: _Group,
    orders: list[OrderChanged],
    images: set[str],
    exist: bool,
    exams: set[str],
    flagged: bool,
    received: datetime,
    policy: Policy,
    marks: set[str],
) -> str:
    if not exist:
        return (
            "arriving"
            if "in_progress" in exams
            or any(o.status in ("in_progress", "performed") for o in orders)
            else "expected"
        )
    acquired = [
        s.event.acquired_at
        for s in g.series
        if isinstance(s.event, SeriesReceived) and s.event.acquired_at
    ]
    window = timedelta(days=policy.historic_after_days)
    if not orders and acquired and window and all(received - at > window for at in acquired):
        return "historic"
    # The gateway publishes a series once its association closed and fell quiet; an exam still under
    # way holds it back.
    done = exams - {"in_progress"} or any(o.status == "performed" for o in orders)
    complete = any(s.event.complete for s in g.series if isinstance(s.event, SeriesReceived))
    if "in_progress" in exams and not done and not complete:
        if not flagged:
            return "arriving"
        marks.add("incomplete")
    return "readable"


def _ai(
    g: _Group, images: set[str], policy: Policy
) -> tuple[str, str, tuple[tuple[str, str, str], ...], tuple[str, ...], tuple[str, ...]]:
    """What AI says: the union over the study's series. A flag stays whatever came later (promise
    3).

    What a package in shadow says is a fact, and changes nothing; so is what one says while its
    constancy check fails.
    """
    found = [k.event for k in g.findings if isinstance(k.event, FindingsMade)]
    live = [f for f in found if _counts(f, policy)]
    flags = tuple(
        sorted({(f.package, x.code, x.name) for f in live for x in f.findings if x.flagged})
    )
    looked = tuple(
        sorted({x.name for f in live if f.outcome != "not_analysed" for x in f.findings})
    )
    abstained = tuple(sorted({f.package for f in live if f.reason in ABSTENTIONS}))
    if flags:
        return "flagged", "", flags, looked, abstained
    readable = {
        s.event.series_uid
        for s in g.series
        if isinstance(s.event, SeriesReceived) and s.event.readable
    }
    waiting = readable - {f.series_uid for f in found}
    if waiting or not found:
        return "pending", "", (), looked, abstained
    if any(f.outcome == "not_flagged" for f in live):
        return "not_flagged", "", (), looked, abstained
    doubted = any(not f.constancy and f.package in policy.live for f in found)
    reasons = sorted({f.reason for f in live if f.reason}) or [
        Reason.CONSTANCY_FAILED if doubted else Reason.SHADOW
    ]
    return "not_analysed", reasons[0].value, (), looked, abstained


def _counts(finding: FindingsMade, policy: Policy) -> bool:
    """Whether the list goes by it. "No package is meant for this series" counts everywhere."""
    return not finding.package or (finding.constancy and finding.package in policy.live)
