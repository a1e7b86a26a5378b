"""A message becomes events, by rule and by the site's tables. Pure: time, keys and tables are
arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from streams.errors import Reason, Refuse
from streams.events import (
    Event,
    Identity,
    Number,
    OrderChanged,
    OtherNumber,
    Patient,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    Version,
)
from streams.hl7 import tables
from streams.hl7.message import Group, Message, Segment, interval, when
from streams.hl7.reports import report_status
from streams.seal import KeyRing
from streams.site import Sender, Site
from streams.studykey import digest, patient_of, topic_key

#: What we call ourselves in MSH-3; a message that says so is an echo and changes nothing.
OWN_APPLICATION = "VIGIE"


@dataclass(frozen=True)
class Context:
    """What a message means depends on: who sent it, the site's codes, the keys, and when it came
    (aware, UTC).
    """

    site: Site
    sender: Sender
    ring: KeyRing
    received_at: datetime


def kind(message_type: str, event: str) -> str:
    """``TYPE^EVENT`` of what is mapped, ``ADT``, or ``other``: a label from a closed list."""
    event = event or tables.DEFAULT_EVENT.get(message_type, "")
    if (message_type, event) in tables.ORDER_MESSAGES or (message_type, event) in {
        ("ORU", "R01"),
        ("ADT", "A08"),
        ("ADT", "A40"),
    }:
        return f"{message_type}^{event}"
    return "ADT" if message_type == "ADT" else "other"


def events(message: Message, context: Context) -> list[tuple[str, Event]]:
    """The events of a message with their topic keys; empty for what is understood and none of our
    business.

    Raises:
        Refuse: with the reason and the field (``PID-3``), never a value.
    """
    header = message.header
    event = header.event or tables.DEFAULT_EVENT.get(header.type, "")
    if header.application.upper() == OWN_APPLICATION:
        return []
    try:
        if (header.type, event) in tables.ORDER_MESSAGES:
            return _Mapping(message, context).orders()
        if (header.type, event) == ("ORU", "R01"):
            return _Mapping(message, context).reports()
        if header.type == "ADT" and event in tables.IDENTITY_ACTS:
            return _Mapping(message, context).identities(tables.IDENTITY_ACTS[event])
        if header.type == "ADT" and event in tables.PATIENT_NEWS:
            return _Mapping(message, context).patient(event)
    except ValidationError as error:
        # A value that no event can hold; pydantic's text quotes it, so only the name of the field
        # goes on.
        raise Refuse(Reason.BAD_FIELD, _SOURCES.get(str(error.errors()[0]["loc"][0]), "")) from None
    if header.type == "ADT":
        return []
    raise Refuse(Reason.UNSUPPORTED_MESSAGE, "MSH-9")


_SOURCES = {
    "numbers": "ORC-2",
    "procedure": "OBR-4",
    "modality": "OBR-24",
}


class _Mapping:
    def __init__(self, message: Message, context: Context) -> None:
        self._message, self._context = message, context
        self._index = 0

    def orders(self) -> list[tuple[str, Event]]:
        groups = _with_order_segment(self._message.groups("ORC", "OBR"))
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "ORC")
        self._need("PID")
        last = _last_uids(groups)
        found = [self._order(group, last) for group in groups]
        return [event for event in found if event is not None]

    def _order(self, group: Group, last_uids: tuple[str, ...]) -> tuple[str, Event] | None:
        control = group.text("ORC", 1).upper()
        if control not in tables.CONTROLS:
            raise Refuse(Reason.BAD_FIELD, "ORC-1")
        section = group.text("OBR", 24).upper()
        uids = group.uids() or last_uids
        if control in tables.CHANGES_NOTHING or (not uids and section in tables.NOT_IMAGING):
            return None
        if "OBR" not in group.names and not self._speaks_alone(group, control, uids):
            return None
        said = self._exam(group, section) | self._priority(group) | self._schedule(group)
        emptied = tuple(sorted(name for name, value in said.items() if value == ""))
        return self._study_event(
            OrderChanged,
            group,
            uids,
            (group.text("ORC", 9), self._message_time()),
            status=self._status(group, control),
            location=self._location(),
            ordered_at=self._clamped(group.text("ORC", 9)),
            emptied=emptied,
            **{name: value for name, value in said.items() if value != ""},
        )

    def _speaks_alone(self, group: Group, control: str, uids: tuple[str, ...]) -> bool:
        """Whether an ORC without OBR is of ours: legal where it only cancels or changes a state;
        pharmacy orders look so too and name no study.
        """
        if not uids and not group.text("ORC", 3) and not group.text("ORC", 2):
            return False
        known = control in tables.CANCELS | tables.REPLACES
        return known or group.text("ORC", 5).upper() in tables.ORDER_STATUS

    def _exam(self, group: Group, section: str) -> dict[str, str | None]:
        """What is to be done: None unmentioned, empty where the sender emptied it."""
        codes = self._context.site.codes
        procedure = codes.procedures.get(group.text("OBR", 4))
        modality = group.text("IPC", 5).upper() or section
        named = codes.modality.get(modality, modality if len(modality) == 2 else "")
        text = group.text("OBR", 4, 2) or group.text("OBR", 4, 5) or group.text("OBR", 44, 2)
        return {
            "modality": (procedure.modality if procedure else "") or named or None,
            "body_part": (procedure.body_part if procedure else "") or None,
            "subspecialty": (procedure.subspecialty if procedure else "") or None,
            "procedure": group.text("OBR", 4)[:64] or None,
            "description": text[:256] or group.emptied("OBR", 4),
        }

    def _priority(self, group: Group) -> dict[str, str | None]:
        """The order class: unmentioned unless a code is there, most urgent of several."""
        quantity = [segment.text(9) for segment in group.all("TQ1")]
        given = (*group.timing(6), *quantity, group.text("OBR", 5))
        if any(given):
            return {"priority": self._context.site.codes.worst(given)}
        return {"priority": group.emptied("ORC", 7) or group.emptied("OBR", 5)}

    def _schedule(self, group: Group) -> dict[str, Any]:
        texts = (group.text("OBR", 36), *(s.text(7) for s in group.all("TQ1")), *group.timing(4))
        return {"scheduled_at": self._first_time(*texts) or group.emptied("OBR", 36)}

    def _status(self, group: Group, control: str) -> str | None:
        status = tables.ORDER_STATUS.get(group.text("ORC", 5).upper())
        if control in tables.CANCELS:
            status = "cancelled"
        elif control in tables.REPLACES:
            status = "replaced"
        elif control in tables.STANDS and status is None:
            status = "scheduled"
        if status in ("cancelled", "replaced"):
            self._need_right_to_close("ORC-1")
        return status

    def reports(self) -> list[tuple[str, Event]]:
        groups = self._message.groups("OBR")
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "OBR")
        self._need("PID")
        orders = self._message.groups("ORC", "OBR")
        last = _last_uids(groups)
        found: list[tuple[str, Event]] = []
        for position, group in enumerate(groups):
            if group.text("OBR", 24).upper() in tables.NOT_IMAGING or _measured(group):
                continue
            status = self._report_status(group)
            if status == "none":
                continue
            self._need_right_to_close("OBR-25")
            # An ORC before its OBR may hold the order's numbers.
            around = orders[position] if len(orders) == len(groups) else group
            times = (group.text("OBR", 22), self._message_time())
            found.append(
                self._study_event(
                    ReportReceived, around, group.uids() or last, times, status=status
                )
            )
        return found

    def _report_status(self, group: Group) -> str:
        code = group.text("OBR", 25).upper()
        if own := self._context.site.codes.report.get(code):
            return own
        status = report_status(code, [s.text(11).upper() for s in group.all("OBX") if s.text(11)])
        if not status:
            raise Refuse(Reason.BAD_FIELD if code else Reason.MISSING_FIELD, "OBR-25")
        return status

    def identities(self, act: str) -> list[tuple[str, Event]]:
        """Merges, moves and links of two patient numbers."""
        found: list[tuple[str, Event]] = []
        for survivor, retired, moved in self._pairs(act):
            who = self._identity(survivor)
            base = self._base(who, (self._text("EVN", 2), self._message_time()))
            if retired is None:
                raise Refuse(Reason.MISSING_FIELD, "PID-3" if act in _OF_TWO else "MRG-1")
            if base["patient"] is None:
                raise Refuse(Reason.MISSING_FIELD, "PID-3")
            event = PatientMerged(**base, act=act, retired=retired, moved=moved)
            found.append((base["patient"].value, event))
        if not found:
            raise Refuse(Reason.MISSING_FIELD, "PID")
        return found

    def _pairs(self, act: str) -> list[tuple[Segment | None, Patient | None, tuple[Number, ...]]]:
        """PID that stands, the other number, and what moves."""
        if act in _OF_TWO:
            people = [group.first("PID") for group in self._message.groups("PID")]
            if len(people) < 2:
                raise Refuse(Reason.MISSING_FIELD, "PID")
            return [(people[0], self._patient(*self._patient_id(people[1], 3)), ())]
        found: list[tuple[Segment | None, Patient | None, tuple[Number, ...]]] = []
        for group in self._message.groups("PID", "MRG"):
            old = group.first("MRG")
            if old is None:
                raise Refuse(Reason.MISSING_FIELD, "MRG-1")
            named = (("account", old.text(3)), ("visit", old.text(5)))
            moved = tuple(
                Number(kind=kind, value=value[:64])  # type: ignore[arg-type]
                for kind, value in named
                if value and act == "move"
            )
            number = self._patient_id(old, 1)
            found.append((group.first("PID"), self._patient(*number), moved))
        return found

    def patient(self, event: str) -> list[tuple[str, Event]]:
        self._need("PID")
        who = self._identity(self._message.first("PID"))
        base = self._base(who, (self._text("EVN", 2), self._message_time()))
        if base["patient"] is None:
            raise Refuse(Reason.MISSING_FIELD, "PID-3")
        changed = PatientChanged(
            **base,
            event=event,
            visit=self._text("PV1", 19)[:64] or None,
            location=self._location(),
            ended=event in tables.ENDS_VISIT,
        )
        return [(base["patient"].value, changed)]

    def _study_event(
        self,
        make: Callable[..., Event],
        group: Group,
        uids: tuple[str, ...],
        times: tuple[str, str],
        **facts: Any,
    ) -> tuple[str, Event]:
        numbers = self._numbers(group, uids)
        if not any(number.kind in ("accession", "placer", "filler", "study") for number in numbers):
            raise Refuse(Reason.NO_STUDY_KEY, self._context.sender.accession[0])
        base = self._base(self._identity(self._message.first("PID")), times)
        event = make(**base, numbers=numbers, site=self._context.sender.site, **facts)
        return topic_key(self._context.ring.pseudonym, numbers, base["patient"]), event

    def _numbers(self, group: Group, uids: tuple[str, ...]) -> tuple[Number, ...]:
        """All numbers that an order's segments name; what identifies nothing is left out."""
        sender, site = self._context.sender, self._context.site.authorities
        found: list[Number] = []

        def add(kind: str, value: str, *authority: str) -> None:
            if site.identifies(value):
                name = site.canonical(*authority, sender.authority)
                found.append(Number(kind=kind, authority=name, value=value))  # type: ignore[arg-type]

        accession = next((name for name in sender.accession if group.named(name)), "")
        if accession:
            stated = ("IPC", 1, 3), ("IPC", 1, 2)
            own = [group.text(*field) for field in stated] if accession == "IPC-1" else []
            add("accession", group.named(accession), *own)
        for kind, field in (("placer", 2), ("filler", 3)):
            name = "ORC" if group.text("ORC", field) else "OBR"
            value = group.text(name, field)
            add(kind, value, group.text(name, field, 3), group.text(name, field, 2))
        found += [Number(kind="study", value=uid) for uid in uids]
        if visit := self._text("PV1", 19):
            found.append(Number(kind="visit", value=visit[:64]))
        if account := self._text("PID", 18):
            found.append(Number(kind="account", value=account[:64]))
        return tuple(dict.fromkeys(found))

    def _base(self, who: Identity, times: tuple[str, ...]) -> dict[str, Any]:
        ring, raw = self._context.ring, self._message.raw
        self._index += 1
        sequence = self._text("MSH", 13)
        sent = self._clamped(self._message_time()) or self._context.received_at
        return {
            "event_id": digest(self._context.sender.name.encode(), raw, str(self._index).encode()),
            "sender": self._context.sender.name,
            "received_at": self._context.received_at,
            "version": Version(
                time=self._event_time(times, sent),
                message_time=sent,
                sequence=int(sequence)
                if sequence.isascii() and sequence.isdigit() and len(sequence) < 10
                else 0,
                digest=digest(raw),
            ),
            "patient": self._patient(who.patient_id, who.issuer),
            "identity": ring.seal_identity(who) if who != Identity() else None,
        }

    def _event_time(self, times: tuple[str, ...], sent: datetime) -> datetime:
        """When it happened: where the stamp is coarser than a second, the message's own time within
        it; never later than the receipt.
        """
        stamps = (interval(text, self._context.sender.timezone) for text in times if text)
        found = next((stamp for stamp in stamps if stamp), None)
        if found is None:
            return sent
        return min(max(found[0], min(sent, found[1])), self._context.received_at)

    def _patient(self, value: str, authority: str) -> Patient | None:
        return patient_of(self._context.ring.pseudonym, authority, value)

    def _identity(self, pid: Segment | None) -> Identity:
        if pid is None:
            return Identity()
        patient_id, issuer = self._patient_id(pid, 3)
        if not patient_id:
            patient_id, issuer = self._patient_id(pid, 2)  # before 2.3.1
        names = [pid.text(5, component)[:64] for component in range(1, 6)]
        name = "^".join(names).rstrip("^") or None
        birth = self._context.site.authorities.birth_date(pid.text(7))
        return Identity(
            patient_id=patient_id,
            issuer=issuer,
            name="" if pid.emptied(5) else name,
            birth_date="" if pid.emptied(7) else birth,
            sex="" if pid.emptied(8) else pid.text(8)[:1].upper() or None,
            others=self._others(pid, patient_id),
        )

    def _patient_id(self, segment: Segment | None, field: int) -> tuple[str, str]:
        """Number and authority: the repetition of the sender's authority, else of type PI or MR
        (HL7 table 0203), else the first; a dummy number is none.
        """
        if segment is None:
            return "", ""
        sender, site = self._context.sender, self._context.site.authorities
        found = [
            (segment.part(r, 1)[:64], self._authority(segment, r), segment.part(r, 5))
            for r in segment.repetitions(field)
        ]
        found = [one for one in found if site.identifies(one[0])]
        wanted = site.canonical(sender.patient_authority)
        for fits in (
            lambda one: wanted and one[1] == wanted,
            lambda one: one[2] == "PI",
            lambda one: one[2] == "MR",
            lambda one: True,
        ):
            if chosen := next((one for one in found if fits(one)), None):
                return chosen[0], chosen[1] or site.canonical(sender.issuer)
        return "", ""

    def _authority(self, segment: Segment, repetition: str) -> str:
        """CX-4: the universal id before the namespace, by the site's names."""
        universal, namespace = segment.part(repetition, 4, 2), segment.part(repetition, 4, 1)
        return self._context.site.authorities.canonical(universal, namespace)

    def _others(self, pid: Segment, counted: str) -> tuple[OtherNumber, ...]:
        """The numbers that are kept and shown, and join nobody."""
        return tuple(
            OtherNumber(
                value=value[:64],
                authority=self._authority(pid, repetition),
                kind=pid.part(repetition, 5)[:64],
                reliability=pid.text(32)[:64],
            )
            for repetition in pid.repetitions(3)
            if (value := pid.part(repetition, 1)) and value != counted
        )

    def _location(self) -> str | None:
        codes = self._context.site.codes.location
        found = codes.get(self._text("PV1", 3).upper()) or codes.get(self._text("PV1", 2).upper())
        return found or None

    def _need(self, name: str) -> None:
        if self._message.first(name) is None:
            raise Refuse(Reason.MISSING_FIELD, name)

    def _need_right_to_close(self, where: str) -> None:
        if not self._context.sender.closes:
            raise Refuse(Reason.NOT_AUTHORISED, where)

    def _text(self, name: str, field: int) -> str:
        segment = self._message.first(name)
        return segment.text(field) if segment else ""

    def _message_time(self) -> str:
        return self._text("MSH", 7)

    def _first_time(self, *texts: str) -> datetime | None:
        stamps = (when(text, self._context.sender.timezone) for text in texts if text)
        return next((stamp for stamp in stamps if stamp), None)

    def _clamped(self, text: str) -> datetime | None:
        # A sender's clock that runs ahead must not make its word newer than all that follow.
        found = self._first_time(text)
        return min(found, self._context.received_at) if found else None


#: Acts whose message has two PID instead of PID and MRG.
_OF_TWO = frozenset({"link", "unlink"})


def _with_order_segment(groups: list[Group]) -> list[Group]:
    """An OBR that follows another under one ORC is of that ORC: it says the same of each."""
    last: Segment | None = None
    for group in groups:
        if own := group.first("ORC"):
            last = own
        elif last is not None:
            group.segments.insert(0, last)
    return groups


def _measured(group: Group) -> bool:
    """Whether all results are numbers: a laboratory's, not a report that somebody read."""
    values = {segment.text(2) for segment in group.all("OBX")}
    return bool(values) and values <= tables.NUMERIC


def _last_uids(groups: list[Group]) -> tuple[str, ...]:
    """A single ZDS at the end speaks for all groups before it; several speak each for its own."""
    named = [uids for group in groups if (uids := group.uids())]
    return named[0] if len(named) == 1 else ()
