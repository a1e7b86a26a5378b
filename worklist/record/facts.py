"""What senders said: facts, their versions and the nodes they name, purely.

A fact is the newest version of what one source says of one thing; any permutation and duplication
of the same stamped events leaves the same facts (promise 5). `worklist.record.items` turns them
into rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

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
    Version,
)

_ORDER_STATUS = {"scheduled": 0, "in_progress": 1, "performed": 2, "replaced": 3, "cancelled": 4}
_REPORT_STATUS = {"preliminary": 0, "final": 1, "corrected": 2, "cancelled": 3}
_EXAM_STATUS = {"in_progress": 0, "available": 1, "discontinued": 2, "completed": 3}


def terminality(event: Event) -> int:
    """At equal times the more terminal state wins: the greater number."""
    match event:
        case OrderChanged():
            return _ORDER_STATUS[event.status]
        case ReportReceived():
            return _REPORT_STATUS[event.status]
        case ExamProgressed():
            return _EXAM_STATUS[event.status]
    return 0


def newer(a: Event, b: Event) -> bool:
    """Whether `a` replaces `b` as the same fact."""
    return version_key(a) > version_key(b)


def version_key(event: Event) -> tuple[datetime, int, int, str]:
    """What versions of one fact are compared by; greater is newer."""
    v: Version = event.version
    return (v.time, terminality(event), v.sequence, v.digest)


def fact_key(event: Event) -> str:
    """What `event` is a version of. Fragments of a series and findings are kept each: their union
    counts.

    A finding's key names what it flagged: screened again with less, it stands beside the flag and
    cannot replace it. Nor can one that was made while the package's constancy failed.
    """
    match event:
        case OrderChanged():
            number = event.order or "/".join(event.accessions) or "/".join(event.study_uids)
            return f"order:{event.sender}:{number}"
        case PatientChanged():
            return f"patient:{event.patient}:{event.sender}"
        case PatientMerged():
            return f"merge:{event.retired}"
        case ReportReceived():
            return f"report:{event.sender}:{'/'.join((*event.accessions, *event.study_uids))}"
        case SeriesReceived():
            return f"series:{event.series_uid}:{event.gateway}:{event.version.digest}"
        case ExamProgressed():
            return f"exam:{event.sender}:{'/'.join(event.study_uids) or '/'.join(event.accessions)}"
        case FindingsMade():
            flagged = "/".join(sorted(f.code for f in event.findings if f.flagged))
            doubted = "" if event.constancy else ":doubted"
            screened = f"{event.package}:{event.package_version}:{event.input_digest}"
            return f"finding:{event.series_uid}:{screened}:{flagged}{doubted}"


def nodes(event: Event) -> list[str]:
    """The things `event` speaks of: ``a:accession``, ``u:study UID``, ``o:sender:order``,
    ``p:patient``.
    """
    found = [f"p:{event.patient}"] if event.patient else []
    if isinstance(event, PatientMerged):
        found.append(f"p:{event.retired}")
    found += [f"a:{a}" for a in getattr(event, "accessions", ())]
    found += [f"a:{a}" for a in getattr(event, "previous_accessions", ())]
    found += [f"u:{u}" for u in getattr(event, "study_uids", ())]
    if isinstance(event, SeriesReceived | FindingsMade):
        found.append(f"u:{event.study_uid}")
    if isinstance(event, OrderChanged) and event.order:
        found.append(order_node(event))
    return sorted(set(found))


def order_node(order: OrderChanged) -> str:
    """The node of an order's number: its name before it has any accession."""
    return f"o:{order.sender}:{order.order}"


@dataclass
class Known:
    """One fact: the newest version of an event, when its first version was received, and the nodes
    that any version named.
    """

    event: Event
    first_received: datetime
    nodes: frozenset[str]


class Merges:
    """Which patients are one. Chains are followed; a circle ends at its smallest member."""

    def __init__(self, merges: Iterable[PatientMerged]) -> None:
        self._into = {m.retired: m.patient for m in merges if m.patient and m.patient != m.retired}

    def survivor(self, patient: str | None) -> str | None:
        """The patient that `patient` now is."""
        seen: list[str] = []
        while patient in self._into and patient not in seen:
            seen.append(patient)
            patient = self._into[patient]
        return min(seen) if patient in seen else patient


def same_patient(a: Identity, b: Identity) -> bool:
    """Whether two identities may be one person: what both state must agree (id, issuer, birth
    date).
    """
    pairs = ((a.patient_id, b.patient_id), (a.issuer, b.issuer), (a.birth_date, b.birth_date))
    return all(not x or not y or x == y for x, y in pairs)
