"""Orders and reports become events, by rule and by the site's tables. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from streams.errors import Reason, Refuse
from streams.events import Event, Number, NumberKind, OrderChanged, ReportReceived
from streams.hl7 import tables
from streams.hl7.envelope import Context, Envelope
from streams.hl7.message import Group, Message, Segment, when
from streams.hl7.patients import changed, identity_of, location_of, place_numbers, related
from streams.hl7.reports import report_status
from streams.studykey import topic_key

#: What we call ourselves in MSH-3; a message that says so is an echo and changes nothing.
OWN_APPLICATION = "VIGIE"
_UID = re.compile(r"[0-9.]{1,64}")
_MAX_VALUE = 64  # characters of a number
#: Kinds of numbers by which a study can be found.
_FINDS = frozenset({"accession", "placer", "filler", "study"})


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
            return _Orders(message, context).events()
        if (header.type, event) == ("ORU", "R01"):
            return _Reports(message, context).events()
        if header.type == "ADT" and event in tables.IDENTITY_ACTS:
            return related(message, context, event)
        if header.type == "ADT" and event in tables.PATIENT_NEWS:
            return changed(message, context, event)
    except ValidationError:
        # A value that no event can hold; pydantic's text quotes it.
        raise Refuse(Reason.BAD_FIELD, header.type) from None
    if header.type == "ADT":
        return []
    raise Refuse(Reason.UNSUPPORTED_MESSAGE, "MSH-9")


class _OfStudies:
    """What orders and reports have in common: who the patient is, and the numbers of the study."""

    def __init__(self, message: Message, context: Context) -> None:
        self._message, self._context = message, context
        self._envelope = Envelope(message, context)

    def _event(
        self,
        make: Callable[..., Event],
        group: Group,
        uids: tuple[str, ...],
        stamp: str,
        **facts: Any,
    ) -> tuple[str, Event]:
        numbers = self._numbers(group, uids)
        if not any(number.kind in _FINDS for number in numbers):
            raise Refuse(Reason.NO_STUDY_KEY, self._context.sender.accession[0])
        who = identity_of(group.person, self._context)
        base = self._envelope.base(who, stamp)
        event = make(**base, numbers=numbers, site=self._context.sender.site, **facts)
        return topic_key(self._context.ring.pseudonym, numbers, base["patient"]), event

    def _numbers(self, group: Group, uids: tuple[str, ...]) -> tuple[Number, ...]:
        """All numbers that an order's segments name; what identifies nothing is left out."""
        found = self._accessions(group)
        fields: tuple[tuple[NumberKind, int], ...] = (("placer", 2), ("filler", 3))
        for kind, field in fields:
            # Under one ORC several OBR may stand, each with numbers of its own.
            name = "OBR" if group.text("OBR", field) else "ORC"
            found += self._number(kind, group.first(name), field)
        for uid in uids:
            if not _UID.fullmatch(uid):
                raise Refuse(Reason.BAD_FIELD, "ZDS-1" if group.first("ZDS") else "IPC-3")
            found.append(Number(kind="study", value=uid))
        place = place_numbers(group.visit, group.person, self._context)
        return tuple(dict.fromkeys((*found, *place)))

    def _accessions(self, group: Group) -> list[Number]:
        """What stands in the first filled one of the sender's fields, of each IPC its own."""
        field = next((name for name in self._context.sender.accession if group.named(name)), "")
        name, _, place = field.partition("-")
        found: list[Number] = []
        for segment in group.all(name) if name == "IPC" else group.all(name)[:1]:
            found += self._number("accession", segment, int(place), stated=field == "IPC-1")
        return found

    def _number(
        self, kind: NumberKind, segment: Segment | None, field: int, *, stated: bool = True
    ) -> list[Number]:
        """The EI of a field as a number.

        Args:
            stated: whether its namespace and universal id are the number's authority.
        """
        sender, authorities = self._context.sender, self._context.site.authorities
        value = segment.text(field) if segment else ""
        if segment is None or not authorities.identifies(value):
            return []
        if len(value) > _MAX_VALUE:
            raise Refuse(Reason.BAD_FIELD, f"{segment.name}-{field}")
        said = (segment.text(field, 3), segment.text(field, 2)) if stated else ()
        authority = authorities.canonical(*said, sender.authority)
        return [Number(kind=kind, authority=authority, value=value)]

    def _need_right_to_close(self, where: str) -> None:
        if not self._context.sender.closes:
            raise Refuse(Reason.NOT_AUTHORISED, where)


class _Orders(_OfStudies):
    """ORM^O01, OMI^O23, OMG^O19."""

    def events(self) -> list[tuple[str, Event]]:
        groups = _with_order_segments(self._message.groups("ORC", "OBR"))
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "ORC")
        self._envelope.need("PID")
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
        if "OBR" not in group.names and not self._speaks_alone(group, control):
            return None
        said: dict[str, Any] = {
            **self._exam(group, section),
            "priority": self._priority(group),
            "scheduled_at": self._scheduled(group),
            "location": location_of(group.visit, self._context),
        }
        given = control in tables.GIVES
        return self._event(
            OrderChanged,
            group,
            uids,
            group.text("ORC", 9),
            status=self._status(group, control),
            ordered_at=self._envelope.not_later(group.text("ORC", 9)) if given else None,
            emptied=tuple(sorted(name for name, value in said.items() if value == "")),
            **{name: value for name, value in said.items() if value != ""},
        )

    def _speaks_alone(self, group: Group, control: str) -> bool:
        """Whether an ORC without OBR is of ours: legal where it only cancels or changes a state;
        pharmacy orders look so too.
        """
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
            "modality": (procedure.modality if procedure else "")
            or named
            or group.emptied("OBR", 24),
            "body_part": (procedure.body_part if procedure else "") or None,
            "subspecialty": (procedure.subspecialty if procedure else "") or None,
            "procedure": group.text("OBR", 4)[:64] or group.emptied("OBR", 4),
            "description": text[:256] or group.emptied("OBR", 4),
        }

    def _priority(self, group: Group) -> str | None:
        """The order class: the most urgent of the codes; None where none is mentioned, empty where
        the sender emptied it.
        """
        quantity = [segment.text(9) for segment in group.all("TQ1")]
        given = (*group.timing(6), *quantity, group.text("OBR", 5))
        if any(given):
            return self._context.site.codes.worst(given)
        places = (("ORC", 7, 6), ("OBR", 27, 6), ("TQ1", 9, 1), ("OBR", 5, 1))
        return "" if any(group.emptied(*place) is not None for place in places) else None

    def _scheduled(self, group: Group) -> Any:
        """When it is to be done: a time, None unmentioned, empty where the sender emptied it."""
        texts = (group.text("OBR", 36), *(s.text(7) for s in group.all("TQ1")), *group.timing(4))
        stamps = (when(text, self._context.sender.timezone) for text in texts if text)
        return next((stamp for stamp in stamps if stamp), None) or group.emptied("OBR", 36)

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


class _Reports(_OfStudies):
    """ORU^R01."""

    def events(self) -> list[tuple[str, Event]]:
        # An ORC before its OBR may hold the order's numbers.
        groups = _with_order_segments(self._message.groups("ORC", "OBR"))
        groups = [group for group in groups if "OBR" in group.names]
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "OBR")
        self._envelope.need("PID")
        last = _last_uids(groups)
        found = [self._report(group, last) for group in groups]
        return [event for event in found if event is not None]

    def _report(self, group: Group, last_uids: tuple[str, ...]) -> tuple[str, Event] | None:
        if group.text("OBR", 24).upper() in tables.NOT_IMAGING or _measured(group):
            return None
        status = self._status(group)
        if status == "none":
            return None
        self._need_right_to_close("OBR-25")
        uids = group.uids() or last_uids
        return self._event(ReportReceived, group, uids, group.text("OBR", 22), status=status)

    def _status(self, group: Group) -> str:
        code = group.text("OBR", 25).upper()
        if own := self._context.site.codes.report.get(code):
            return own
        status = report_status(code, [s.text(11).upper() for s in group.all("OBX") if s.text(11)])
        if not status:
            raise Refuse(Reason.BAD_FIELD if code else Reason.MISSING_FIELD, "OBR-25")
        return status


def _with_order_segments(groups: list[Group]) -> list[Group]:
    """An OBR that follows another under one ORC is of that ORC: what stands before the first OBR
    (ORC, TQ1) says the same of each.
    """
    before: list[Segment] = []
    for group in groups:
        names = [segment.name for segment in group.segments]
        if "ORC" in names:
            before = group.segments[: names.index("OBR")] if "OBR" in names else group.segments
        else:
            group.segments[:0] = before
    return groups


def _measured(group: Group) -> bool:
    """Whether all results are numbers: a laboratory's, not a report that somebody read."""
    values = {segment.text(2) for segment in group.all("OBX")}
    return bool(values) and values <= tables.NUMERIC


def _last_uids(groups: list[Group]) -> tuple[str, ...]:
    """A single ZDS at the end speaks for all groups before it; several speak each for its own."""
    named = [uids for group in groups if (uids := group.uids())]
    return named[0] if len(named) == 1 else ()
