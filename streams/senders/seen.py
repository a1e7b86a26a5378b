"""What this gateway saw of each sender since it started: counts and times, no identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

import structlog

from streams import metrics
from streams.errors import VigieError
from streams.events import SenderSeen
from streams.senders.site import Sender

log = structlog.get_logger()
#: Whoever the site does not know.
STRANGER = "unknown"
#: So many different procedures that are no imaging are told of one sender.
_SAMPLES = 20


@dataclass
class _AtDoor:
    last_at: datetime | None = None
    answers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    not_imaging: Counter[str] = field(default_factory=Counter)


class Seen:
    """Counts by sender and door, of all doors of one gateway. Safe for many threads.

    Args:
        gateway: name of this process.
        senders: those that are configured: they are told of even if they are silent.
        started: when this process started.
    """

    def __init__(self, gateway: str, senders: Iterable[Sender], started: datetime) -> None:
        self._gateway, self._started = gateway, started
        self._lock = Lock()
        self._seen: dict[tuple[str, str], _AtDoor] = {
            (sender.name, door): _AtDoor() for sender in senders for door in sender.doors
        }

    def _of(self, door: str, sender: str) -> _AtDoor:
        return self._seen.setdefault((sender, door), _AtDoor())

    def answered(self, door: str, sender: str, code: str, at: datetime) -> None:
        """A message of `sender` was answered at `door`: taken, or refused (`refused`)."""
        with self._lock:
            of = self._of(door, sender)
            of.last_at = at
            of.answers[code] += 1

    def refused(self, door: str, error: VigieError, sender: str = STRANGER, **said: Any) -> None:
        """A connection, request or message of `sender` was refused at `door`: counted of the sender
        and of the door, and one line that also has what the door `said` of it, and no value.
        """
        reason = error.reason.value
        with self._lock:
            self._of(door, sender).refusals[reason] += 1
        metrics.refused.labels(door, reason).inc()
        log.warning("refused", door=door, reason=reason, where=error.where, sender=sender, **said)

    def not_imaging(self, door: str, sender: str, procedure: str) -> None:
        """An order was kept off the list by a rule of its sender."""
        with self._lock:
            found = self._of(door, sender).not_imaging
            if procedure in found or len(found) < _SAMPLES:
                found[procedure or "-"] += 1

    def events(self, at: datetime) -> list[SenderSeen]:
        """What is told of each sender, door by door."""
        with self._lock:
            return [
                SenderSeen(
                    gateway=self._gateway,
                    sender=name,
                    door=door,
                    since=self._started,
                    at=at,
                    last_at=of.last_at,
                    answers=dict(of.answers),
                    refusals=dict(of.refusals),
                    not_imaging=dict(of.not_imaging),
                )
                for (name, door), of in self._seen.items()
            ]
