"""Orders become events: ORM^O01, OMI^O23, OMG^O19, and SIU where it moves an exam."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from streams.errors import Reason, Refuse
from streams.events import Number, NumberKind, OrderChanged
from streams.hl7 import tables
from streams.hl7.patients import location_of, place_numbers
from streams.hl7.studies import Keyed, OfStudies, last_uids, with_order_segments
from streams.hl7.text.message import Group
from streams.hl7.text.times import when
from streams.sealed import OrderDetails

_TEXT = 256  # characters of a description
_MOST_ORDERS = 50  # of one appointment
_LONG = 2000  # characters of an indication
#: Where a priority may stand: segment, field, component. Each may repeat; of a code of TQ1-9 the
#: fourth component is another system's word for it.
_PRIORITIES = (
    ("ORC", 7, 6),
    ("OBR", 27, 6),
    ("TQ1", 9, 1),
    ("TQ1", 9, 4),
    ("OBR", 5, 1),
)
#: Where the time of the exam may stand; what comes first goes before.
_TIMES = (("OBR", 36, 1), ("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 27, 4))
_ORDERS_OF_APPOINTMENTS: tuple[tuple[str, NumberKind, int], ...] = (
    ("SCH", "placer", 26),
    ("SCH", "filler", 27),
    ("ORC", "placer", 2),
    ("ORC", "filler", 3),
)


def order_said(control: str, status: str) -> str | None:
    """What ORC-1 and ORC-5 together say of an order: its state, ``none`` where nothing changes,
    empty where its state stays as it was; None where the control is unknown.

    What ends an order ends it whatever ORC-5 says; a control that says that the order stands leaves
    it to ORC-5 where that says more.

    Args:
        control: ORC-1, upper case; empty where it is missing.
        status: ORC-5, likewise; one that is not in the table counts as missing.
    """
    said = tables.ORDER_CONTROL.get(control)
    if said in (None, "cancelled", "replaced", "none"):
        return said
    return tables.ORDER_STATUS.get(status) or said


class Orders(OfStudies):
    """ORM^O01, OMI^O23, OMG^O19."""

    def events(self) -> list[Keyed]:
        """One event of each order; nothing is said before all are read."""
        groups = with_order_segments(self._message.groups("ORC", "OBR"))
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "ORC")
        self._envelope.need("PID")
        last = last_uids(groups)
        found = [self._order(group, last) for group in groups]
        return [event for event in found if event is not None]

    def _order(self, group: Group, last: tuple[str, ...]) -> Keyed | None:
        control, code = group.text("ORC", 1).upper(), group.text("ORC", 5).upper()
        status = order_said(control, code)
        if status is None:
            raise Refuse(Reason.BAD_FIELD, "ORC-1")
        if status == "none" or any(group.has(name) for name in tables.OTHER_ORDERS):
            return None
        if code not in tables.ORDER_STATUS:
            self._context.doubt("order_status")
        # Legal where it only changes a state; pharmacy orders look so too.
        if not group.has("OBR") and not (status and (code or status in ("cancelled", "replaced"))):
            return None
        if status in ("cancelled", "replaced"):
            self._context.need("cancel", "ORC-1")
        said: dict[str, Any] = {
            **self._exam(group),
            "priority": self._priority(group),
            "scheduled_at": self._scheduled(group),
            "location": location_of(group.visit, self._context),
        }
        stamp = group.text("ORC", 9)
        return self._event(
            OrderChanged,
            group,
            self._numbers(group, group.uids() or last),
            stamp,
            status=status or None,
            ordered_at=self._envelope.not_later(stamp) if control in tables.GIVES else None,
            changes=control in tables.CHANGES,
            imaging=self._imaging(group),
            details=self._details(group),
            emptied=tuple(sorted([name for name, value in said.items() if value == ""])),
            **{name: value for name, value in said.items() if value != ""},
        )

    def _exam(self, group: Group) -> dict[str, str | None]:
        """What is to be done: None unmentioned, empty where the sender emptied it."""
        codes, section = self._context.site.codes, group.text("OBR", 24).upper()
        code = group.text("OBR", 4)
        procedure = codes.procedures.get(code) or codes.procedures.get(group.text("OBR", 4, 4))
        modality = group.text("IPC", 5).upper() or section
        named = codes.modality.get(modality, modality if len(modality) == 2 else "")
        text = group.text("OBR", 4, 2) or group.text("OBR", 4, 5) or group.text("OBR", 44, 2)
        return {
            "modality": (procedure.modality if procedure else "")
            or named
            or group.emptied("OBR", 24),
            "body_part": (procedure.body_part if procedure else "") or None,
            "subspecialty": (procedure.subspecialty if procedure else "") or None,
            "procedure": code[:64] or group.emptied("OBR", 4),
            "description": text[:_TEXT] or group.emptied("OBR", 4),
        }

    def _priority(self, group: Group) -> str | None:
        """The order class: the most urgent of the codes; None where none is mentioned, empty where
        the sender emptied it.
        """
        given = _every(group, _PRIORITIES)
        if given:
            found = self._context.site.codes.worst(given)
            if found == "unknown":
                self._context.doubt("priority")
            return found
        return _emptied(group, _PRIORITIES)

    def _scheduled(self, group: Group) -> Any:
        """When it is to be done: a time, None unmentioned, empty where the sender emptied it."""
        zone = self._context.sender.timezone
        found = next((at for text in _every(group, _TIMES) if (at := when(text, zone))), None)
        return found or _emptied(group, _TIMES)

    def _details(self, group: Group) -> str | None:
        """What a reader wants to know beside, under seal: free text may name somebody."""
        said = [group.text("OBR", 13), group.text("OBR", 31, 2) or group.text("OBR", 31)]
        said += [diagnosis.text(4) or diagnosis.text(3, 2) for diagnosis in group.all("DG1")]
        visit = group.visit
        states = [visit.part(one, 1) for one in visit.repetitions(15)] if visit else []
        return self._context.seal(
            OrderDetails(
                indication="; ".join(dict.fromkeys(filter(None, said)))[:_LONG],
                referrer=_person(group, "OBR", 16) or _person(group, "ORC", 12),
                call_back=(group.text("OBR", 17) or group.text("ORC", 14))[:64],
                pregnant=tables.PREGNANT in states if states else None,
                isolation=(group.text("OBR", 12, 2) or group.text("OBR", 12))[:_TEXT],
            )
        )


def _every(group: Group, places: Collection[tuple[str, int, int]]) -> list[str]:
    """What stands there, each segment and repetition; nothing for what is empty."""
    return [
        value
        for name, field, component in places
        for segment in group.all(name)
        for value in segment.every(field, component)
    ]


def _emptied(group: Group, places: Collection[tuple[str, int, int]]) -> str | None:
    """``""`` where the sender emptied one of the places, else None."""
    return "" if any(group.emptied(*place) is not None for place in places) else None


def _person(group: Group, name: str, field: int) -> str:
    """A clinician (XCN): family and given name."""
    segment = group.first(name)
    return "^".join(segment.components(field, 3)[1:])[:_TEXT] if segment else ""


class Appointments(OfStudies):
    """SIU: when an exam is to be done."""

    def events(self) -> list[Keyed]:
        """An event for each order that the appointment names; else it is none of ours."""
        message, zone = self._message, self._context.sender.timezone
        texts = (
            *(segment.text(4) for segment in message.all("AIS")),
            *(segment.text(7) for segment in message.all("TQ1")),
            message.text("SCH", 11, 4),
        )
        stands = tables.APPOINTMENTS[message.header.event]
        time = next((at for text in texts if text and (at := when(text, zone))), None)
        if stands and time is None:
            return []
        group = Group(message.segments, message.first("PID"), message.first("PV1"))
        return [
            self._event(
                OrderChanged,
                group,
                (*numbers, *place_numbers(group.visit, group.person, self._context)),
                self._envelope.text("EVN", 2),
                scheduled_at=time if stands else None,
                emptied=() if stands else ("scheduled_at",),
            )
            for numbers in self._orders()
        ]

    def _orders(self) -> list[tuple[Number, ...]]:
        """The numbers of each order: SCH-26 and SCH-27 repeat, pair by pair."""
        message, found = self._message, list[tuple[Number, ...]]()
        places = [
            (kind, message.first(name), field) for name, kind, field in _ORDERS_OF_APPOINTMENTS
        ]
        counts = (len(segment.repetitions(field)) for _, segment, field in places if segment)
        most = max(counts, default=0)
        if most > _MOST_ORDERS:
            raise Refuse(Reason.BAD_FIELD, "SCH-26")
        for place in range(most):
            numbers = [
                number
                for kind, segment, field in places
                for number in self._number(kind, segment, field, repetition=place)
            ]
            if numbers:
                found.append(tuple(dict.fromkeys(numbers)))
        return found
