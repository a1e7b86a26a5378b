"""What senders say, for the tests of the record: facts with as much as a test wants."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from streams.errors import Reason
from streams.events import (
    ActDone,
    Coverage,
    Event,
    ExamProgressed,
    Finding,
    FindingsMade,
    Number,
    OrderChanged,
    Patient,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
    Version,
)
from streams.instances import pack
from streams.sealed import Identity
from worklist.record.acts import Act
from worklist.record.facts import Fact

T0 = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def digest(*parts: object) -> str:
    """32 hex digits that stand for `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def at(minutes: float) -> datetime:
    """So many minutes after ten o'clock."""
    return T0 + timedelta(minutes=minutes)


def who(said: str) -> tuple[Patient | None, Identity]:
    """``P1@HOSP``, ``P1`` (open), or empty; ``/19610204/Name``: birth date, name."""
    number, _, rest = said.partition("/")
    born, _, name = rest.partition("/")
    value, _, authority = number.partition("@")
    patient = Patient(value=digest("who", value), authority=authority) if value else None
    return patient, Identity(
        patient_id=value, issuer=authority, birth_date=born or None, name=name or None
    )


def numbers(said: str) -> tuple[Number, ...]:
    """``a7 p5@RIS f9 u1.2 s1.9 v3``: accession, placer, filler, study UID, step, visit."""
    kinds = {
        "a": "accession",
        "p": "placer",
        "f": "filler",
        "u": "study",
        "s": "step",
        "v": "visit",
    }
    found = []
    for word in said.split():
        value, _, authority = word[1:].partition("@")
        found.append(Number(kind=kinds[word[0]], value=value, authority=authority))  # type: ignore[arg-type]
    return tuple(found)


def _base(
    patient: str, received: float, when: float | None, sender: str, told: Any
) -> dict[str, Any]:
    number, identity = who(patient)
    told = digest(sender, patient, when if when is not None else received, told)
    return {
        "event_id": told,
        "sender": sender,
        "received_at": at(received),
        "version": Version(
            time=at(when if when is not None else received), message_time=at(received), digest=told
        ),
        "patient": number,
        "identity": "sealed"
        if identity.patient_id or identity.birth_date or identity.name
        else None,
    }


def one_message(*facts: Fact) -> list[Fact]:
    """The same as one message says them, each in a group of its own."""
    version = facts[0].event.version  # type: ignore[union-attr]
    return [Fact(f.event.model_copy(update={"version": version}), f.identity) for f in facts]


def _fact(event: Event, patient: str) -> Fact:
    _, identity = who(patient)
    return Fact(event, identity)


def order(
    said: str,
    patient: str = "P1@HOSP",
    priority: str | None = None,
    *,
    received: float = 0,
    when: float | None = None,
    sender: str = "ris",
    **more: Any,
) -> Fact:
    """What an order message says."""
    base = _base(patient, received, when, sender, ("order", said, priority, more))
    more.setdefault("status", "scheduled")
    return _fact(OrderChanged(**base, numbers=numbers(said), priority=priority, **more), patient)


def image(
    said: str,
    patient: str = "P1@HOSP",
    *,
    received: float = 10,
    names: Sequence[int] = (1,),
    series: str = "1",
    sender: str = "ct",
    gateway: str = "gateway-1",
    **more: Any,
) -> Fact:
    """A fragment: `said` names its study as ``u1.2``, perhaps an accession."""
    stated = numbers(said)
    uid = next(n.value for n in stated if n.kind == "study")
    base = _base(
        patient, received, None, sender, ("image", said, tuple(names), series, gateway, more)
    )
    event = SeriesReceived(
        **base,
        numbers=tuple(n for n in stated if n.kind != "study"),
        study_uid=uid,
        series_uid=f"{uid}.{series}",
        gateway=gateway,
        reference="0" * 32,
        instances=pack(f"{name:016x}" for name in names),
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        **{"modality": "CT"} | more,
    )
    return _fact(event, patient)


def report(
    said: str,
    patient: str = "P1@HOSP",
    status: str = "final",
    *,
    received: float = 30,
    when: float | None = None,
    sender: str = "ris",
    content: str | None = None,
) -> Fact:
    """What a report message says; sent again later it is another message."""
    base = _base(patient, received, when, sender, ("report", said, status, content, received))
    content = digest(content) if content else None
    event = ReportReceived(
        **base,
        numbers=numbers(said),
        status=status,  # type: ignore[arg-type]
        content=content,
    )
    return _fact(event, patient)


def step(
    said: str,
    patient: str = "P1@HOSP",
    status: str = "in_progress",
    *,
    received: float = 8,
    sender: str = "ct",
    announced: int | None = None,
    **series: int,
) -> Fact:
    """What a performed procedure step or an availability notice says; ``u1_1_1=3``: images of a
    series.
    """
    made = {uid[1:].replace("_", "."): count for uid, count in series.items()}
    base = _base(patient, received, None, sender, ("step", said, status, announced, made))
    event = ExamProgressed(
        **base,
        numbers=numbers(said),
        status=status,  # type: ignore[arg-type]
        announced_instances=announced,
        series=made,
    )
    return _fact(event, patient)


def adt(
    trigger: str,
    patient: str,
    *,
    received: float = 20,
    when: float | None = None,
    sender: str = "adt",
    **more: Any,
) -> Fact:
    """An identity or visit message."""
    base = _base(patient, received, when, sender, ("adt", trigger, sorted(more.items())))
    return _fact(PatientChanged(**base, event=trigger, **more), patient)


def merge(
    old: str,
    new: str,
    *,
    act: str = "merge",
    received: float = 20,
    when: float | None = None,
    sender: str = "adt",
    moved: str = "",
) -> Fact:
    """`old` is now `new` (A40), or is linked to it (A24), or no more (A37), or moves (A43…)."""
    base = _base(new, received, when, sender, ("merge", old, act, moved))
    retired, _ = who(old)
    assert retired is not None
    event = PatientMerged(**base, act=act, retired=retired, moved=numbers(moved))  # type: ignore[arg-type]
    return _fact(event, new)


def finding(
    of: Fact,
    *,
    flagged: bool = True,
    package: str = "head-ct-ich",
    received: float = 12,
    unread: Reason | None = None,
    unlike: Literal["features", "size", "skull"] | None = None,
    coverage: Coverage | None = None,
) -> Fact:
    """What a package says of a fragment, or why it was not analysed."""
    series = of.event
    assert isinstance(series, SeriesReceived)
    base = series.model_dump(include={"sender", "version", "patient", "identity", "numbers"})
    told = digest("finding", series.event_id, flagged, package, unread, unlike, coverage)
    event = FindingsMade(
        **base,
        event_id=told,
        received_at=at(received),
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        package=package,
        package_version="1",
        input_digest=series.event_id,
        outcome="not_analysed" if unread else "flagged" if flagged else "not_flagged",
        reason=unread,
        unlike=unlike,
        coverage=coverage,
        findings=(
            Finding(
                code="ich",
                name="haemorrhage",
                flagged=flagged and unread is None,
                probability=0.9,
                threshold=0.5,
            ),
        ),
        screened_at=at(received),
    )
    return Fact(event, of.identity)


def act(name: str, item: str, *, when: float = 40, said: str = "", **more: Any) -> Fact:
    """What a person did to the row that is named `item`; `said` are its numbers."""
    told = digest("act", name, item, when, sorted(more.items(), key=str))
    body = Act(
        act_id=told,
        act=name,  # type: ignore[arg-type]
        item=item,
        actor="anna",
        at=at(when),
        numbers=numbers(said),
        **{"reason": "because"} | more,
    )
    return Fact(ActDone(event_id=told, received_at=at(when), body="sealed"), act=body)
