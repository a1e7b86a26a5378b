"""A body that comes again is the same word, until its sender has said something else in between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from streams.events import Event
from streams.http.making import Keyed
from streams.identity.studykey import digest

#: So many subjects are remembered, of which something was said without a time.
_REMEMBERED = 100_000


class Repeats:
    """Gives ids to events that state no version: what follows another word on its subject is a new
    one, though its bytes came before (an order that is reinstated as it was).
    """

    def __init__(self) -> None:
        #: Subject → id by the body, id that was given.
        self._last: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def told(self, events: Iterable[Keyed]) -> list[Keyed]:
        """The events under the ids that they have. One that states its time keeps that by its
        body: its version says what is newer.
        """
        return [(key, self._told(event)) for key, event in events]

    def _told(self, event: Event) -> Event:
        version = getattr(event, "version", None)
        if version is None or version.time != event.received_at:
            return event
        by_body, subject = event.event_id, _subject(event)
        last, given = self._last.pop(subject, ("", ""))
        if last != by_body:
            place = (given, event.received_at.isoformat())
            given = digest(by_body.encode(), *map(str.encode, place))
        self._last[subject] = by_body, given
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return event.model_copy(update={"event_id": given})


def _subject(event: Event) -> str:
    """Of what an event speaks: its sender, its kind, whom and which numbers it names."""
    parts = (event.type, getattr(event, "sender", ""), getattr(event, "patient", None))
    named = (getattr(event, "numbers", ()), getattr(event, "retired", None))
    return digest(repr((*parts, *named)).encode())
