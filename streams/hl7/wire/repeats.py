"""Messages that came before: the same one is durable already, another with its number is marked.

Remembered per process, and bounded: across processes the record joins repeats by their digest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from streams.errors import VigieError

#: So many messages are remembered; a sender repeats within minutes.
REMEMBERED = 50_000


#: Of a message under way: None once it is durable, else why it never became so.
Outcome = asyncio.Future[VigieError | None]


class _Known(NamedTuple):
    digest: str
    durable: Outcome


class Repeats:
    """What each sender sent under which control id (MSH-10), as far back as `most` messages."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._parked: OrderedDict[str, None] = OrderedDict()

    def before(self, sender: str, control_id: str, digest: str) -> Outcome | None:
        """What becomes of the very same message, known now or soon; None where it is new."""
        known = self._known.get((sender, control_id))
        return known.durable if known and known.digest == digest else None

    def reused(self, sender: str, control_id: str, digest: str) -> bool:
        """Whether another message had that control id."""
        known = self._known.get((sender, control_id))
        return known is not None and known.digest != digest

    def begin(self, sender: str, control_id: str, digest: str) -> Outcome:
        """Remembers a message that is under way; the future is to be given what became of it."""
        key = sender, control_id
        durable: Outcome = asyncio.get_running_loop().create_future()
        self._known[key] = _Known(digest, durable)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

        def settled(done: Outcome) -> None:
            # Only what got a positive answer is remembered.
            known = self._known.get(key)
            if known and known.durable is done and (done.cancelled() or done.result()):
                del self._known[key]

        durable.add_done_callback(settled)
        return durable

    def first_refusal(self, digest: str) -> bool:
        """Whether these bytes are refused for the first time: they are parked once."""
        if digest in self._parked:
            return False
        self._parked[digest] = None
        if len(self._parked) > self._most:
            self._parked.popitem(last=False)
        return True
