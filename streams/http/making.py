"""What all events of one request have in common: its sender, its receipt, its version."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streams.errors import Reason, Refuse
from streams.events import Event, Number, NumberKind, Version
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, patient_of, topic_key
from streams.sealed import Identity
from streams.senders.site import Right, Sender, Site

Keyed = tuple[str, Event]
_LONGEST = 64  # characters of a number
#: Kinds of numbers by which a study can be found.
_FINDS = frozenset({"accession", "placer", "filler", "study"})


@dataclass
class Request:
    """Who asks for what, and when.

    Attributes:
        received_at: aware, UTC.
        body: the bytes that came, from which ids are made.
        key: the Idempotency-Key that came with it: another one makes it another request.
        valid: resources that were found to be valid, by their identity while the request lives.
        unknown: elements whose reference names a patient that did not come along.
    """

    site: Site
    sender: Sender
    ring: KeyRing
    received_at: datetime
    body: bytes
    key: str = ""
    unknown: list[str] = field(default_factory=list, init=False)
    valid: dict[int, Any] = field(default_factory=dict, init=False)
    _made: int = field(default=0, init=False)

    def base(self, who: Identity, at: datetime | None) -> dict[str, Any]:
        """The fields of an event about `who`.

        Args:
            at: when the sender says that it happened; a clock that runs ahead makes no word newer
                than all that follow.
        """
        self._made += 1
        time = min(at or self.received_at, self.received_at)
        return {
            "event_id": digest(
                self.sender.name.encode(), self.body, str(self._made).encode(), self.key.encode()
            ),
            "sender": self.sender.name,
            "received_at": self.received_at,
            "version": Version(time=time, message_time=time, digest=digest(self.body)),
            "patient": patient_of(self.ring.pseudonym, who.issuer, who.patient_id),
            "identity": self.ring.seal_identity(who) if who != Identity() else None,
        }

    def number(
        self, kind: NumberKind, value: str, *authorities: str, where: str = ""
    ) -> Number | None:
        """A number as it travels; None where it identifies nothing. Raises Refuse `bad_field`."""
        value = value.strip()
        if len(value) > _LONGEST:
            raise Refuse(Reason.BAD_FIELD, where or kind)
        if not self.site.authorities.identifies(value):
            return None
        own = "" if kind == "study" else self.sender.authority
        return Number(
            kind=kind, value=value, authority=self.site.authorities.canonical(*authorities, own)
        )

    def patient_number(self, value: str, *authorities: str, where: str) -> tuple[str, str]:
        """The number and its authority; empty where it identifies nobody. Raises Refuse
        `bad_field`.
        """
        value = value.strip()
        if len(value) > _LONGEST:  # cut off, two patients could become one
            raise Refuse(Reason.BAD_FIELD, where)
        if not self.site.authorities.identifies(value):
            return "", ""
        return value, self.site.authorities.canonical(*authorities, self.sender.issuer)

    def need(self, right: Right, where: str) -> None:
        """Raises Refuse `not_authorised` unless the sender may do that."""
        if right not in self.sender.rights:
            raise Refuse(Reason.NOT_AUTHORISED, where)

    def of_study(self, event: Event) -> Keyed:
        """An event of a study with its topic key. Raises Refuse `no_study_key`."""
        numbers = getattr(event, "numbers", ())
        if not any(number.kind in _FINDS for number in numbers):
            raise Refuse(Reason.NO_STUDY_KEY, "identifier")
        return topic_key(self.ring.pseudonym, numbers, event.patient), event  # type: ignore[union-attr]

    def of_patient(self, event: Event) -> Keyed:
        """An event of a patient with its topic key. Raises Refuse `missing_field`."""
        patient = getattr(event, "patient", None)
        if patient is None:
            raise Refuse(Reason.MISSING_FIELD, "patient number")
        return patient.value, event
