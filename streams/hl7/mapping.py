"""A message becomes events by rule and by the site's tables. Pure: time and keys are arguments."""

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
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    Version,
)
from streams.hl7 import tables
from streams.hl7.message import Group, Message, Segment, when
from streams.seal import KeyRing
from streams.site import Sender, Site
from streams.studykey import digest, patient_pseudonym, topic_key

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
        if (header.type, event) == ("ADT", "A40"):
            return _Mapping(message, context).merges()
        if header.type == "ADT" and event in tables.PATIENT_NEWS:
            return _Mapping(message, context).patient()
    except ValidationError as error:
        # A value that no event can hold; pydantic's text quotes it, so only the name of the field
        # goes on.
        raise Refuse(Reason.BAD_FIELD, _SOURCES.get(str(error.errors()[0]["loc"][0]), "")) from None
    if header.type == "ADT":
        return []
    raise Refuse(Reason.UNSUPPORTED_MESSAGE, "MSH-9")


_SOURCES = {
    "accessions": "OBR-18",
    "study_uids": "ZDS-1",
    "order": "ORC-3",
    "procedure": "OBR-4",
    "modality": "OBR-24",
}


class _Mapping:
    def __init__(self, message: Message, context: Context) -> None:
        self._message, self._context = message, context
        self._index = 0

    def orders(self) -> list[tuple[str, Event]]:
        groups = self._message.groups("ORC", "OBR")
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
        codes = self._context.site.codes
        section = group.text("OBR", 24).upper()
        uids = group.uids() or last_uids
        if (
            control in tables.CHANGES_NOTHING
            or (not uids and section in tables.NOT_IMAGING)
            or "OBR" not in group.names
        ):
            return (
                None
                if control in tables.CHANGES_NOTHING or "OBR" in group.names
                else self._bare(group, control, uids)
            )
        procedure = codes.procedures.get(group.text("OBR", 4))
        modality = group.text("IPC", 5).upper() or section
        return self._study_event(
            OrderChanged,
            group,
            uids,
            (group.text("ORC", 9), self._message_time()),
            order=group.text("ORC", 3)
            or group.text("OBR", 3)
            or group.text("ORC", 2)
            or group.text("OBR", 2),
            status=self._status(group, control),
            priority=codes.worst(
                (*group.timing(6), *(s.text(9) for s in group.all("TQ1")), group.text("OBR", 5))
            ),
            location=self._location(),
            modality=(procedure.modality if procedure else "")
            or codes.modality.get(modality, modality if len(modality) == 2 else ""),
            body_part=procedure.body_part if procedure else "",
            subspecialty=procedure.subspecialty if procedure else "",
            procedure=group.text("OBR", 4)[:64],
            description=(
                group.text("OBR", 4, 2) or group.text("OBR", 4, 5) or group.text("OBR", 44, 2)
            )[:256],
            ordered_at=self._clamped(group.text("ORC", 9)),
            scheduled_at=self._first_time(
                group.text("OBR", 36), *(s.text(7) for s in group.all("TQ1")), *group.timing(4)
            ),
        )

    def _bare(self, group: Group, control: str, uids: tuple[str, ...]) -> tuple[str, Event] | None:
        """An ORC without OBR: legal where it only cancels or changes a state; pharmacy orders look
        so too and name no study.
        """
        if not uids and not group.text("ORC", 3) and not group.text("ORC", 2):
            return None
        if (
            control not in tables.CANCELS | tables.REPLACES
            and group.text("ORC", 5) not in tables.ORDER_STATUS
        ):
            return None
        return self._study_event(
            OrderChanged,
            group,
            uids,
            (group.text("ORC", 9), self._message_time()),
            order=group.text("ORC", 3) or group.text("ORC", 2),
            status=self._status(group, control),
            location=self._location(),
        )

    def _status(self, group: Group, control: str) -> str:
        status = tables.ORDER_STATUS.get(group.text("ORC", 5).upper(), "scheduled")
        if control in tables.CANCELS:
            status = "cancelled"
        elif control in tables.REPLACES:
            status = "replaced"
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
        results = (segment.text(11) for segment in group.all("OBX"))
        code = (group.text("OBR", 25) or next(filter(None, results), "")).upper()
        if not code:
            raise Refuse(Reason.MISSING_FIELD, "OBR-25")
        if code in tables.REPORT_STATUS:
            return tables.REPORT_STATUS[code]
        if status := self._context.site.codes.report.get(code):
            return status
        if code in tables.NO_REPORT:
            return "none"
        raise Refuse(Reason.BAD_FIELD, "OBR-25")

    def merges(self) -> list[tuple[str, Event]]:
        found: list[tuple[str, Event]] = []
        for group in self._message.groups("PID", "MRG"):
            if "MRG" not in group.names:
                raise Refuse(Reason.MISSING_FIELD, "MRG-1")
            who = self._identity(group.first("PID"))
            old = self._patient_id(group.first("MRG"), 1)
            retired = patient_pseudonym(self._context.ring.pseudonym, old[1], old[0])
            survivor = patient_pseudonym(self._context.ring.pseudonym, who.issuer, who.patient_id)
            if retired is None or survivor is None:
                raise Refuse(Reason.MISSING_FIELD, "MRG-1" if survivor else "PID-3")
            base = self._base(who, (self._text("EVN", 2), self._message_time()))
            found.append((survivor, PatientMerged(**base, retired=retired)))
        if not found:
            raise Refuse(Reason.MISSING_FIELD, "PID")
        return found

    def patient(self) -> list[tuple[str, Event]]:
        self._need("PID")
        who = self._identity(self._message.first("PID"))
        base = self._base(who, (self._text("EVN", 2), self._message_time()))
        if base["patient"] is None:
            raise Refuse(Reason.MISSING_FIELD, "PID-3")
        return [(base["patient"], PatientChanged(**base, location=self._location()))]

    def _study_event(
        self,
        make: Callable[..., Event],
        group: Group,
        uids: tuple[str, ...],
        times: tuple[str, str],
        **facts: Any,
    ) -> tuple[str, Event]:
        accession = next(
            (value for name in self._context.sender.accession if (value := group.named(name))), ""
        )
        if not accession and not uids:
            raise Refuse(Reason.NO_STUDY_KEY, self._context.sender.accession[0])
        base = self._base(self._identity(self._message.first("PID")), times)
        accessions = (accession,) if accession else ()
        event = make(
            **base, accessions=accessions, study_uids=uids, site=self._context.sender.site, **facts
        )
        key = topic_key(
            self._context.ring.pseudonym,
            accessions=accessions,
            study_uids=uids,
            patient=base["patient"],
        )
        return key, event

    def _base(self, who: Identity, times: tuple[str, ...]) -> dict[str, Any]:
        ring, raw = self._context.ring, self._message.raw
        self._index += 1
        sequence = self._text("MSH", 13)
        return {
            "event_id": digest(self._context.sender.name.encode(), raw, str(self._index).encode()),
            "sender": self._context.sender.name,
            "received_at": self._context.received_at,
            "version": Version(
                time=self._first_time(*times, clamp=True) or self._context.received_at,
                sequence=int(sequence)
                if sequence.isascii() and sequence.isdigit() and len(sequence) < 10
                else 0,
                digest=digest(raw),
            ),
            "patient": patient_pseudonym(ring.pseudonym, who.issuer, who.patient_id),
            "identity": ring.seal_identity(who) if who.patient_id or who.name else None,
        }

    def _identity(self, pid: Segment | None) -> Identity:
        if pid is None:
            return Identity()
        patient_id, issuer = self._patient_id(pid, 3)
        if not patient_id:
            patient_id, issuer = self._patient_id(pid, 2)  # before 2.3.1
        names = [pid.text(5, component)[:64] for component in range(1, 6)]
        birth = pid.text(7)[:8]
        return Identity(
            patient_id=patient_id[:64],
            issuer=issuer[:64],
            name="^".join(names).rstrip("^"),
            birth_date=birth if len(birth) == 8 and birth.isdigit() else "",
            sex=pid.text(8)[:1].upper(),
        )

    def _patient_id(self, segment: Segment | None, field: int) -> tuple[str, str]:
        """Id and issuer: the repetition of type MR or PI (HL7 table 0203), else the first."""
        if segment is None:
            return "", ""
        found = segment.repetitions(field)
        chosen = next(
            (r for r in found if segment.part(r, 5) in ("MR", "PI")), found[0] if found else ""
        )
        return segment.part(chosen, 1), segment.part(chosen, 4) or self._context.sender.issuer

    def _location(self) -> str:
        codes = self._context.site.codes.location
        return codes.get(self._text("PV1", 3).upper()) or codes.get(
            self._text("PV1", 2).upper(), ""
        )

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

    def _first_time(self, *texts: str, clamp: bool = False) -> datetime | None:
        stamps = (when(text, self._context.sender.timezone) for text in texts if text)
        found = next((stamp for stamp in stamps if stamp), None)
        # A sender's clock that runs ahead must not make its word newer than all that follow.
        return min(found, self._context.received_at) if found and clamp else found

    def _clamped(self, text: str) -> datetime | None:
        return self._first_time(text, clamp=True)


def _measured(group: Group) -> bool:
    """Whether all results are numbers: a laboratory's, not a report that somebody read."""
    values = {segment.text(2) for segment in group.all("OBX")}
    return bool(values) and values <= tables.NUMERIC


def _last_uids(groups: list[Group]) -> tuple[str, ...]:
    """A single ZDS at the end speaks for all groups before it; several speak each for its own."""
    named = [uids for group in groups if (uids := group.uids())]
    return named[0] if len(named) == 1 else ()
