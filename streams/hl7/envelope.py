"""What all events of one message have in common: its sender, its receipt, its version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streams.errors import Reason, Refuse
from streams.events import Identity, Version
from streams.hl7.message import Message, interval, when
from streams.seal import KeyRing
from streams.site import Sender, Site
from streams.studykey import digest, patient_of


@dataclass(frozen=True)
class Context:
    """What a message means depends on: who sent it, the site's codes, the keys, and when it came
    (aware, UTC).
    """

    site: Site
    sender: Sender
    ring: KeyRing
    received_at: datetime


class Envelope:
    """Makes what each event of `message` begins with; their ids differ by their place in it."""

    def __init__(self, message: Message, context: Context) -> None:
        self.message, self.context = message, context
        self._made = 0

    def base(self, who: Identity, stamp: str) -> dict[str, Any]:
        """The fields of an event about `who`.

        Args:
            stamp: when the sender says that it happened (ORC-9, EVN-2, OBR-22); MSH-7 without.
        """
        context, raw = self.context, self.message.raw
        self._made += 1
        sent = self.not_later(self.text("MSH", 7)) or context.received_at
        return {
            "event_id": digest(context.sender.name.encode(), raw, str(self._made).encode()),
            "sender": context.sender.name,
            "received_at": context.received_at,
            "version": Version(
                time=self._event_time(stamp, sent),
                message_time=sent,
                sequence=_sequence(self.text("MSH", 13)),
                digest=digest(raw),
            ),
            "patient": patient_of(context.ring.pseudonym, who.issuer, who.patient_id),
            "identity": context.ring.seal_identity(who) if who != Identity() else None,
        }

    def _event_time(self, stamp: str, sent: datetime) -> datetime:
        """When it happened: where the stamp is coarser than a second, the message's own time within
        it; never later than the receipt.
        """
        found = interval(stamp, self.context.sender.timezone)
        if found is None:
            return sent
        return min(max(found[0], min(sent, found[1])), self.context.received_at)

    def not_later(self, text: str) -> datetime | None:
        """A time stamp; a sender's clock that runs ahead does not make its word newer than all that
        follow.
        """
        found = when(text, self.context.sender.timezone)
        return min(found, self.context.received_at) if found else None

    def text(self, name: str, field: int) -> str:
        """One value of the first segment of that name; ``""`` where it is missing."""
        segment = self.message.first(name)
        return segment.text(field) if segment else ""

    def need(self, name: str) -> None:
        """Raises Refuse `missing_field` where the message has no such segment."""
        if self.message.first(name) is None:
            raise Refuse(Reason.MISSING_FIELD, name)


def _sequence(text: str) -> int:
    """MSH-13; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
