"""Who a PID is, and what becomes of patient numbers: ADT messages as events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streams.errors import Reason, Refuse
from streams.events import Event, Number, NumberKind, PatientChanged, PatientMerged
from streams.hl7 import tables
from streams.hl7.envelope import NOBODY, Context, Envelope
from streams.hl7.text.message import Message
from streams.hl7.text.segments import Identifier, Segment
from streams.identity.studykey import patient_of
from streams.sealed import Identity, OtherNumber

#: Characters of a patient number.
_LONGEST = 64
#: Numbers of one field: what has more is no list of one patient's numbers.
_MOST = 50


def identity_of(pid: Segment | None, context: Context, *, doubtful: bool = False) -> Identity:
    """Who `pid` says the patient is; what it does not mention is None.

    Args:
        doubtful: what is not ASCII may be read wrongly.
    """
    if pid is None:
        return NOBODY
    given = pid.identifiers(3)
    patient_id, issuer = _number(given, "PID-3", context)
    if not patient_id:
        patient_id, issuer = _number(pid.identifiers(2), "PID-2", context)  # before 2.3.1
    name, sex = name_of(pid, 5), pid.text(8)[:1].upper()
    return Identity(
        patient_id=patient_id,
        issuer=issuer,
        name=name or ("" if pid.emptied(5) else None),
        birth_date="" if pid.emptied(7) else context.site.authorities.birth_date(pid.text(7)),
        sex=sex or ("" if pid.emptied(8) else None),
        others=_others(given, pid, patient_id, issuer, context),
        doubtful=doubtful and not name.isascii(),
    )


def name_of(segment: Segment, field: int) -> str:
    """The first name of a field: family, given, further, suffix, prefix."""
    return "^".join([part[:64] for part in segment.components(field, 5)]).rstrip("^")


def _number(
    given: Sequence[Identifier], place: str, context: Context, authority: str = ""
) -> tuple[str, str]:
    """The number that counts, and its authority; a dummy is none.

    Args:
        place: the field, for a refusal.
        authority: the one whose number counts; the sender's own where none is given. Else a number
            of type PI or MR counts (HL7 table 0203), else the first.
    """
    authorities = context.site.authorities
    if len(given) > _MOST or any(len(one.value) > _LONGEST for one in given):
        # Cut off, two patients could become one.
        raise Refuse(Reason.BAD_FIELD, place)
    found = [one for one in given if authorities.identifies(one.value)]
    if not found:
        return "", ""
    chosen = found[0] if len(found) == 1 else _chosen(found, context, authority)
    issuer = authorities.canonical(chosen.universal, chosen.namespace, context.sender.issuer)
    return chosen.value, issuer


def _chosen(found: list[Identifier], context: Context, authority: str) -> Identifier:
    canonical = context.site.authorities.canonical
    wanted = canonical(authority, context.sender.patient_authority)
    return (
        next((n for n in found if wanted and canonical(n.universal, n.namespace) == wanted), None)
        or next((one for one in found if one.kind == "PI"), None)
        or next((one for one in found if one.kind == "MR"), None)
        or found[0]
    )


def _others(
    given: Sequence[Identifier], pid: Segment, patient_id: str, issuer: str, context: Context
) -> tuple[OtherNumber, ...]:
    """The numbers of PID-3 that are kept and shown, and join nobody."""
    if len(given) == 1 and given[0].value == patient_id:
        return ()
    found, canonical = list[OtherNumber](), context.site.authorities.canonical
    for value, namespace, universal, kind in given:
        authority = canonical(universal, namespace)
        if not value or (value, authority or issuer) == (patient_id, issuer):
            continue
        found.append(
            OtherNumber(
                value=value[:64],
                authority=authority,
                kind=kind[:64],
                reliability=pid.text(32)[:64],
            )
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
    ward, patient_class = visit.text(3).upper(), visit.text(2).upper()
    if len(ward) == 1:  # the letters of the table are classes: an emergency in room R is one
        ward, patient_class = patient_class, ward
    found = codes.get(ward) or codes.get(patient_class)
    return found or ("" if visit.emptied(3) or visit.emptied(2) else None)


def stated(
    segment: Segment | None, field: int, kind: NumberKind, context: Context
) -> Number | None:
    """The CX of a field as a number; None where it identifies nothing."""
    given = segment.identifiers(field) if segment else []
    authorities = context.site.authorities
    if not given or not authorities.identifies(given[0].value):
        return None
    authority = authorities.canonical(given[0].universal, given[0].namespace)
    return Number(kind=kind, authority=authority, value=given[0].value[:64])


def changed(message: Message, context: Context, trigger: str) -> list[tuple[str, Event]]:
    """Demographics, or where somebody is: ADT of `trigger` as PatientChanged."""
    envelope = Envelope(message, context)
    envelope.need("PID")
    pid = message.first("PID")
    who = identity_of(pid, context, doubtful=message.doubtful)
    base = envelope.base(who, envelope.text("EVN", 2))
    if base["patient"] is None:
        _need_number(pid, 3)
        return []
    place = message.first("PV1")
    location, visit = location_of(place, context), stated(place, 19, "visit", context)
    # A movement of the past (IHE PAM, ZBE-5) is no place of now, whatever it inserts or corrects.
    past = message.text("ZBE", 5).upper() == "Y"
    if past:
        location = None
    event = PatientChanged(
        **base,
        event=trigger,
        visit=visit.value if visit else None,
        location=location or None,
        ended=trigger in tables.ENDS_VISIT and not past,
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
    one, other = (identity_of(pid, context, doubtful=message.doubtful) for pid in people[:2])
    yield _Pair(one, other)


def _pairs(message: Message, context: Context, trigger: str) -> Iterator[_Pair]:
    """Merges and moves have PID and MRG; of one PID there may be several (A45)."""
    pid: Segment | None = None
    groups = message.groups("PID", "MRG")
    for group in groups:
        pid, old = group.first("PID") or pid, group.first("MRG")
        _need_number(pid, 3)
        _need_number(old, 1)
        assert old is not None  # else it was refused
        stands = identity_of(pid, context, doubtful=message.doubtful)
        moved: tuple[Number, ...] = ()
        if field := tables.MOVED_BY.get(trigger):
            kind, place = field
            number = stated(old, place, kind, context)
            if number is None:
                # Without it the whole patient would move.
                raise Refuse(Reason.MISSING_FIELD, f"MRG-{place}")
            moved = (number,)
        for value, issuer in _retired(old.identifiers(1), stands, context):
            other = Identity(patient_id=value, issuer=issuer, name=name_of(old, 7) or None)
            yield _Pair(stands, other, moved)
    if not groups:
        raise Refuse(Reason.MISSING_FIELD, "PID")


def _retired(
    given: Sequence[Identifier], stands: Identity, context: Context
) -> list[tuple[str, str]]:
    """The numbers that are retired for the one that stands, with their authority: all that MRG-1
    has of it.
    """
    value, issuer = _number(given, "MRG-1", context, stands.issuer)
    authorities, found = context.site.authorities, [(value, issuer)]
    for one in given:
        whose = authorities.canonical(one.universal, one.namespace, context.sender.issuer)
        same = whose == issuer and one.value != stands.patient_id
        if same and authorities.identifies(one.value):
            found.append((one.value, issuer))
    return list(dict.fromkeys(found))
