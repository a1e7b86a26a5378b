"""Who a PID is, and what becomes of patient numbers: ADT messages as events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streams.errors import Reason, Refuse
from streams.events import (
    Event,
    Identity,
    Number,
    NumberKind,
    OtherNumber,
    PatientChanged,
    PatientMerged,
)
from streams.hl7 import tables
from streams.hl7.envelope import Context, Envelope
from streams.hl7.message import Message, Segment
from streams.studykey import patient_of

#: Characters of a patient number.
_LONGEST = 64


def identity_of(pid: Segment | None, context: Context) -> Identity:
    """Who `pid` says the patient is; what it does not mention is None."""
    if pid is None:
        return Identity()
    patient_id, issuer = _number(pid, 3, context)
    if not patient_id:
        patient_id, issuer = _number(pid, 2, context)  # before 2.3.1
    name = "^".join(pid.text(5, component)[:64] for component in range(1, 6)).rstrip("^")
    return Identity(
        patient_id=patient_id,
        issuer=issuer,
        name="" if pid.emptied(5) else name or None,
        birth_date="" if pid.emptied(7) else context.site.authorities.birth_date(pid.text(7)),
        sex="" if pid.emptied(8) else pid.text(8)[:1].upper() or None,
        others=_others(pid, patient_id, issuer, context),
    )


def _number(segment: Segment, field: int, context: Context, authority: str = "") -> tuple[str, str]:
    """The number that counts, and its authority; a dummy is none.

    Args:
        authority: the one whose number counts; the sender's own where none is given. Else a number
            of type PI or MR counts (HL7 table 0203), else the first.
    """
    sender, authorities = context.sender, context.site.authorities
    found = [
        (segment.part(repetition, 1), _authority(segment, repetition, context), repetition)
        for repetition in segment.repetitions(field)
    ]
    if any(len(value) > _LONGEST for value, _, _ in found):
        # Cut off, two patients could become one.
        raise Refuse(Reason.BAD_FIELD, f"{segment.name}-{field}")
    found = [one for one in found if authorities.identifies(one[0])]
    wanted = authorities.canonical(authority, sender.patient_authority)
    kinds = {repetition: segment.part(repetition, 5) for _, _, repetition in found}
    chosen = (
        next((one for one in found if wanted and one[1] == wanted), None)
        or next((one for one in found if kinds[one[2]] == "PI"), None)
        or next((one for one in found if kinds[one[2]] == "MR"), None)
        or next(iter(found), None)
    )
    if chosen is None:
        return "", ""
    return chosen[0], chosen[1] or authorities.canonical(sender.issuer)


def _authority(segment: Segment, repetition: str, context: Context, component: int = 4) -> str:
    """The authority that a CX states: its universal id before its namespace."""
    universal = segment.part(repetition, component, 2)
    return context.site.authorities.canonical(universal, segment.part(repetition, component, 1))


def _others(
    pid: Segment, patient_id: str, issuer: str, context: Context
) -> tuple[OtherNumber, ...]:
    """The numbers of PID-3 that are kept and shown, and join nobody."""
    found = []
    for repetition in pid.repetitions(3):
        value, authority = pid.part(repetition, 1)[:64], _authority(pid, repetition, context)
        if not value or (value, authority or issuer) == (patient_id, issuer):
            continue
        kind, reliability = pid.part(repetition, 5)[:64], pid.text(32)[:64]
        found.append(
            OtherNumber(value=value, authority=authority, kind=kind, reliability=reliability)
        )
    return tuple(found)


def place_numbers(
    visit: Segment | None, pid: Segment | None, context: Context
) -> tuple[Number, ...]:
    """The visit (PV1-19) and the account (PID-18) that are named."""
    found = [stated(visit, 19, "visit", context), stated(pid, 18, "account", context)]
    return tuple(number for number in found if number is not None)


def location_of(visit: Segment | None, context: Context) -> str | None:
    """The patient class by PV1-3 or PV1-2: None unmentioned, empty where it was emptied."""
    if visit is None:
        return None
    codes = context.site.codes.location
    found = codes.get(visit.text(3).upper()) or codes.get(visit.text(2).upper())
    return found or ("" if visit.emptied(3) or visit.emptied(2) else None)


def stated(
    segment: Segment | None, field: int, kind: NumberKind, context: Context
) -> Number | None:
    """The CX of a field as a number; None where it identifies nothing."""
    value = segment.text(field)[:64] if segment else ""
    if segment is None or not context.site.authorities.identifies(value):
        return None
    authority = _authority(segment, segment.repetitions(field)[0], context)
    return Number(kind=kind, authority=authority, value=value)


def changed(message: Message, context: Context, trigger: str) -> list[tuple[str, Event]]:
    """Demographics, or where somebody is: ADT of `trigger` as PatientChanged."""
    envelope = Envelope(message, context)
    envelope.need("PID")
    pid = message.first("PID")
    base = envelope.base(identity_of(pid, context), envelope.text("EVN", 2))
    if base["patient"] is None:
        _need_number(pid, 3)
        return []
    place = message.first("PV1")
    location, visit = location_of(place, context), stated(place, 19, "visit", context)
    event = PatientChanged(
        **base,
        event=trigger,
        visit=visit.value if visit else None,
        location=location or None,
        ended=trigger in tables.ENDS_VISIT,
        emptied=("location",) if location == "" else (),
    )
    return [(base["patient"].value, event)]


def _need_number(segment: Segment | None, field: int) -> None:
    """A dummy number is answered yes and has no effect; none at all is refused `missing_field`."""
    if segment is None or not segment.text(field):
        raise Refuse(Reason.MISSING_FIELD, f"{'MRG' if field == 1 else 'PID'}-{field}")


@dataclass(frozen=True)
class _Pair:
    """Two patient numbers of one message: the one that stands, and the other."""

    stands: Identity
    other: Identity
    moved: tuple[Number, ...] = ()


def related(message: Message, context: Context, trigger: str) -> list[tuple[str, Event]]:
    """Merges, moves and links of two patient numbers: ADT of `trigger` as PatientMerged."""
    envelope, found = Envelope(message, context), list[tuple[str, Event]]()
    act = tables.IDENTITY_ACTS[trigger]
    two_people = act in ("link", "unlink")
    for pair in _two(message, context) if two_people else _pairs(message, context, trigger):
        base = envelope.base(pair.stands, envelope.text("EVN", 2))
        retired = patient_of(context.ring.pseudonym, pair.other.issuer, pair.other.patient_id)
        if base["patient"] is None or retired is None:
            continue  # a dummy number: nobody is meant
        event = PatientMerged(
            **base,
            act=act,
            retired=retired,
            retired_identity=context.ring.seal_identity(pair.other),
            moved=pair.moved,
        )
        found.append((base["patient"].value, event))
    return found


def _two(message: Message, context: Context) -> Iterator[_Pair]:
    """Links have two PID (A24, A37)."""
    people = [segment for segment in message.segments if segment.name == "PID"]
    if len(people) < 2:
        raise Refuse(Reason.MISSING_FIELD, "PID")
    for pid in people[:2]:
        _need_number(pid, 3)
    yield _Pair(identity_of(people[0], context), identity_of(people[1], context))


def _pairs(message: Message, context: Context, trigger: str) -> Iterator[_Pair]:
    """Merges and moves have PID and MRG; of one PID there may be several (A45)."""
    pid: Segment | None = None
    groups = message.groups("PID", "MRG")
    for group in groups:
        pid, old = group.first("PID") or pid, group.first("MRG")
        _need_number(pid, 3)
        _need_number(old, 1)
        assert old is not None  # else it was refused
        stands = identity_of(pid, context)
        value, issuer = _number(old, 1, context, stands.issuer)
        name = "^".join(old.text(7, component)[:64] for component in range(1, 6)).rstrip("^")
        other = Identity(patient_id=value, issuer=issuer, name=name or None)
        moved: tuple[Number, ...] = ()
        if field := tables.MOVED_BY.get(trigger):
            kind, place = field
            number = stated(old, place, kind, context)
            if number is None:
                # Without it the whole patient would move.
                raise Refuse(Reason.MISSING_FIELD, f"MRG-{place}")
            moved = (number,)
        yield _Pair(stands, other, moved)
    if not groups:
        raise Refuse(Reason.MISSING_FIELD, "PID")
