"""What all events of one message have in common: its sender, its receipt, its version."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from streams.errors import Reason, Refuse
from streams.events import Version
from streams.hl7.text.message import Message
from streams.hl7.text.times import interval, when
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, patient_of
from streams.sealed import Identity
from streams.senders.site import Right, Sender, Site

#: Who is meant where a message names no patient.
NOBODY = Identity()


@dataclass(frozen=True)
class Context:
    """What a message means depends on: who sent it, the site's codes, the keys, and when it came
    (aware, UTC).

    Attributes:
        proved: whether the one who sent it is known to be the sender: else it only may order.
        doubts: what was taken in a way that may not be meant, to be counted.
    """

    site: Site
    sender: Sender
    ring: KeyRing
    received_at: datetime
    proved: bool = True
    doubts: list[str] = field(default_factory=list)

    def may(self, right: Right) -> bool:
        """Whether the one who sent it may do that."""
        return right in self.sender.rights and (self.proved or right == "order")

    def need(self, right: Right, where: str) -> None:
        """Raises Refuse `not_authorised` unless it may do that."""
        if not self.may(right):
            raise Refuse(Reason.NOT_AUTHORISED, where)

    def doubt(self, what: str) -> None:
        """Something was taken in a way that may not be meant: it is counted."""
        self.doubts.append(what)

    def seal(self, told: BaseModel) -> str | None:
        """`told` under seal; None where it says nothing."""
        said = told.model_dump_json(exclude_defaults=True)
        return None if said == "{}" else self.ring.seal(said.encode())


class Envelope:
    """Makes what each event of `message` begins with; their ids differ by their place in it."""

    def __init__(self, message: Message, context: Context) -> None:
        self.message, self.context = message, context
        self._made = 0
        self._digest = digest(message.raw)
        self._sent = self.not_later(self.text("MSH", 7)) or context.received_at
        self._sequence = _sequence(self.text("MSH", 13))

    def base(self, who: Identity, stamp: str) -> dict[str, Any]:
        """The fields of an event about `who`.

        Args:
            stamp: when the sender says that it happened (ORC-9, EVN-2, OBR-22); MSH-7 without.
        """
        context = self.context
        self._made += 1
        return {
            "event_id": digest(
                context.sender.name.encode(), self._digest.encode(), str(self._made).encode()
            ),
            "sender": context.sender.name,
            "received_at": context.received_at,
            "version": Version(
                time=self._event_time(stamp),
                message_time=self._sent,
                sequence=self._sequence,
                digest=self._digest,
            ),
            "patient": patient_of(context.ring.pseudonym, who.issuer, who.patient_id),
            "identity": context.ring.seal_identity(who) if who != NOBODY else None,
        }

    def _event_time(self, stamp: str) -> datetime:
        """When it happened: where the stamp is coarser than a second, the message's own time within
        it; never later than the receipt.
        """
        found = interval(stamp, self.context.sender.timezone)
        if found is None:
            return self._sent
        return min(max(found[0], min(self._sent, found[1])), self.context.received_at)

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
