"""Opens what travels sealed: identities with the street's ring, acts with the list's own."""

from __future__ import annotations

from pydantic import ValidationError

from streams.errors import Park, Reason
from streams.events import ActDone, Event, Identity, PatientMerged
from streams.seal import KeyRing
from worklist.record.acts import Act
from worklist.record.facts import Fact

_REMEMBERED = 10_000


class Opener:
    """Events to facts. Seals are opened once and remembered, within bounds.

    Args:
        ring: the street's keys: identities.
        acts: keys that only web and worklist hold: acts of persons.
    """

    def __init__(self, ring: KeyRing, acts: KeyRing) -> None:
        self._ring = ring
        self._acts = acts
        self._identities: dict[str, Identity] = {}

    def fact(self, event: Event) -> Fact:
        """The fact that `event` is. Raises Park `bad_seal`."""
        if isinstance(event, ActDone):
            act = self.open_act(event.body)
            if act.act_id != event.event_id:
                raise Park(Reason.BAD_SEAL)
            return Fact(event, act=act)
        if isinstance(event, PatientMerged) and event.retired_identity:
            self._identity(event.retired_identity)  # it must open before anything is written
        return Fact(event, self._identity(event.identity) if event.identity else None)

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

    def _identity(self, sealed: str) -> Identity:
        if sealed not in self._identities:
            if len(self._identities) >= _REMEMBERED:
                self._identities.clear()
            self._identities[sealed] = self._ring.open_identity(sealed)
        return self._identities[sealed]
