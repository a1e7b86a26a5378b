"""Keeps what gateways say of senders: reads the topics `doors` and `parked` into the database, and
says who is silent. Beside the chores, in each web process; what one has read no other keeps again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from streams.errors import Park, VigieError
from streams.events import SenderSeen, decode
from streams.kafka.parked import AT_ONCE, entry_of
from streams.kafka.reading import Part, TopicReader
from streams.kafka.topics import DOORS, PARKED
from streams.senders.site import Site
from streams.settings import StreamsSettings
from worklist import metrics
from worklist.sql.database import translated
from worklist.sql.senders import asking, keeping, silence

log = structlog.get_logger()
#: So many words are kept in one transaction; of what is parked fewer.
_WORDS_AT_ONCE = 5_000


class Keeper:
    """One process's keeping. Not for several threads at once."""

    def __init__(
        self, engine: Engine, settings: StreamsSettings, site: Site, now: Callable[[], datetime]
    ) -> None:
        self._engine, self._site, self._now = engine, site, now
        self._reader = TopicReader(settings)
        self._judged: datetime | None = None

    def round(self) -> bool:
        """Keeps the next part of what was said; whether there is more.

        Raises:
            Unavailable: database or broker is away. Silence is measured without the broker too.
        """
        self._measure()
        words = self._next(DOORS.name, _WORDS_AT_ONCE, self._keep_words)
        return self._next(PARKED.name, AT_ONCE, self._keep_parked) or words

    def close(self) -> None:
        """Gives the broker's connection back."""
        self._reader.close()

    def _measure(self) -> None:
        now = self._now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        with translated(), self._engine.begin() as connection:
            if hour != self._judged:
                silence.judge(connection, self._site.senders, now)
                keeping.trim(connection, now)
            found = asking.senders(connection, now)
        # Of whom a gateway speaks for the first time in this hour is not judged yet.
        known = {(view.sender, view.door) for view in found if view.silent_after_s is not None}
        listed = {(sender.name, door) for sender in self._site.senders for door in sender.doors}
        self._judged = hour if listed <= known else None
        for view in found:
            if view.silent_after_s is not None:
                metrics.sender_heard.labels(view.sender, view.door).set(view.heard_at.timestamp())
                metrics.sender_silent_after.labels(view.sender, view.door).set(view.silent_after_s)

    def _next(self, topic: str, most: int, keep: Callable[[Connection, int, Part], None]) -> bool:
        more = False
        for partition in self._reader.partitions(topic):
            place = (topic, partition)
            with translated(), self._engine.begin() as connection:
                before = keeping.position(connection, place)
            part = self._reader.read(place, before, most)
            with translated(), self._engine.begin() as connection:
                if keeping.go_on(connection, place, before, part):
                    keep(connection, partition, part)
            more = more or part.more
        return more

    def _keep_words(self, connection: Connection, _partition: int, part: Part) -> None:
        words = filter(None, (_word(record.value) for record in part.records))
        keeping.keep_words(connection, words, self._now())

    def _keep_parked(self, connection: Connection, partition: int, part: Part) -> None:
        entries = filter(None, (entry_of(partition, record) for record in part.records))
        keeping.keep_parked(connection, partition, part, entries)


def _word(value: bytes) -> SenderSeen | None:
    try:
        event = decode(value)
    except Park:
        return None  # of a later release
    return event if isinstance(event, SenderSeen) else None


async def run(keeper: Keeper, every_s: float = 5.0) -> None:
    """Keeps for ever; what is away is waited for."""
    while True:
        more = False
        try:
            more = await asyncio.to_thread(keeper.round)
        except (VigieError, DBAPIError) as error:
            log.warning("senders_wait", error=type(error).__name__)
        if not more:
            await asyncio.sleep(every_s)
