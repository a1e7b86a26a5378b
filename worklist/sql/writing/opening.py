"""Opens what travels sealed: identities with the street's ring, acts with the list's own."""

from __future__ import annotations

from pydantic import ValidationError

from streams.errors import Park, Reason
from streams.events import ActDone, Event, OrderChanged, PatientMerged, ReportReceived
from streams.identity.seal import KeyRing
from streams.sealed import OrderDetails, ReportText
from worklist.record.acts import Act
from worklist.record.facts import Fact

#: Bytes of facts that are remembered, and of one of them; parsed, one takes some 4 kB more.
_REMEMBERED = 64 * 1024 * 1024
_LARGEST = 64 * 1024
_PARSED = 4096


class Opener:
    """Events to facts. What was opened is remembered, within bounds: until a row changes, its fact
    is neither sent, nor parsed, nor opened again.

    Args:
        ring: the street's keys: identities.
        acts: keys that only web and worklist hold: acts of persons.
    """

    def __init__(self, ring: KeyRing, acts: KeyRing) -> None:
        self._ring = ring
        self._acts = acts
        self._remembered: dict[tuple[str, str], Fact] = {}
        self._size = 0

    def fact(self, event: Event) -> Fact:
        """The fact that `event` is. Raises Park `bad_seal`."""
        if isinstance(event, ActDone):
            act = self.open_act(event.body)
            if act.act_id != event.event_id:
                raise Park(Reason.BAD_SEAL)
            return Fact(event, act=act)
        if isinstance(event, PatientMerged) and event.retired_identity:
            # it must open before anything is written
            self._ring.open_identity(event.retired_identity)
        identity = self._ring.open_identity(event.identity) if event.identity else None
        return Fact(event, identity, details=self._details(event))

    def _details(self, event: Event) -> OrderDetails | None:
        """What an order says beside. Raises Park `bad_seal`."""
        if not isinstance(event, OrderChanged) or not event.details:
            return None
        try:
            return OrderDetails.model_validate_json(self._ring.open(event.details))
        except ValidationError:
            raise Park(Reason.BAD_SEAL) from None

    def report_text(self, report: ReportReceived) -> str:
        """What a report says; empty where none was sent. Raises Park `bad_seal`."""
        if not report.text:
            return ""
        try:
            return ReportText.model_validate_json(self._ring.open(report.text)).text
        except ValidationError:
            raise Park(Reason.BAD_SEAL) from None

    def recall(self, key: str, version: str) -> Fact | None:
        """The fact in a row of the database, if it is remembered.

        Args:
            version: of the row: the transaction (``xmin``) that wrote it, and wrote it once.
        """
        return self._remembered.get((key, version))

    def remember(self, key: str, version: str, fact: Fact, size: int) -> None:
        """Remembers what `version` of a row holds, `size` bytes of JSON."""
        if size > _LARGEST:
            return
        self._size += size + _PARSED
        if self._size > _REMEMBERED:
            self._remembered.clear()
            self._size = size + _PARSED
        self._remembered[key, version] = fact

    def seal_act(self, act: Act) -> ActDone:
        """The event that carries `act`."""
        body = self._acts.seal(act.model_dump_json().encode())
        return ActDone(event_id=act.act_id, received_at=act.at, body=body)

    def open_act(self, sealed: str) -> Act:
        """The act in `sealed`. Raises Park `bad_seal`."""
        try:
            return Act.model_validate_json(self._acts.open(sealed))
        except ValidationError:
            raise Park(Reason.BAD_SEAL) from None
