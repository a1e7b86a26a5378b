"""A message becomes events, by rule and by the site's tables. Pure: time is an argument."""

from __future__ import annotations

from pydantic import ValidationError

from streams.errors import Reason, Refuse
from streams.hl7 import tables
from streams.hl7.envelope import Context
from streams.hl7.orders import Appointments, Orders
from streams.hl7.patients import changed, related
from streams.hl7.reports import Documents, Reports
from streams.hl7.studies import Keyed
from streams.hl7.text.message import Header, Message, parse

#: What we call ourselves in MSH-3; a message that says so is an echo and changes nothing.
OWN_APPLICATION = "VIGIE"
#: MSH-11.
PRODUCTION, TEST = frozenset({"", "P"}), frozenset({"T", "D"})


def kind(message_type: str, event: str) -> str:
    """``TYPE^EVENT`` of what is understood, or ``other``: a label from a closed list."""
    if message_type == "ACK":
        return message_type
    event = event or tables.DEFAULT_EVENT.get(message_type, "")
    return f"{message_type}^{event}" if tables.understood(message_type, event) else "other"


def read(raw: bytes, header: Header, context: Context) -> list[Keyed]:
    """The events of a message as its door takes it, now or when it is sent again from `parked`: of
    one that says that it is a test (MSH-11 T or D), none.

    Raises:
        Refuse: as `events` and `parse`.
    """
    message = parse(raw, context.sender, header)
    if message.header.processing not in PRODUCTION | TEST:
        raise Refuse(Reason.BAD_FIELD, "MSH-11")
    found = events(message, context)
    return [] if message.header.processing in TEST else found


def events(message: Message, context: Context) -> list[Keyed]:
    """The events of a message with their topic keys; empty for what is understood and none of our
    business.

    Raises:
        Refuse: with the reason and the field (``PID-3``), never a value.
    """
    header = message.header
    event = header.event or tables.DEFAULT_EVENT.get(header.type, "")
    if header.application.upper() == OWN_APPLICATION or header.type == "ACK":
        return []
    if not tables.understood(header.type, event):
        raise Refuse(Reason.UNSUPPORTED_MESSAGE, "MSH-9")
    context.need("order", "MSH-3")
    if message.doubtful:
        context.doubt("charset")
    try:
        return _events(header.type, event, message, context)
    except ValidationError:
        # A value that no event can hold; pydantic's text quotes it.
        raise Refuse(Reason.BAD_FIELD, header.type) from None


def _events(message_type: str, event: str, message: Message, context: Context) -> list[Keyed]:
    if message_type == "ADT":
        if event in tables.IDENTITY_ACTS:
            context.need("merge", "MSH-9")
            return related(message, context, event)
        return changed(message, context, event) if event in tables.PATIENT_NEWS else []
    if message_type == "SIU":
        known = event in tables.APPOINTMENTS
        return Appointments(message, context).events() if known else []
    if message_type == "ORU":
        return Reports(message, context).events()
    if message_type == "MDM":
        return Documents(message, context).events()
    return Orders(message, context).events()
