"""A web process's own look at the street: how far the list is behind, the relay of acts, and what
gateways say of senders.

Without a broker in its settings it does neither, and the page says nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime

from sqlalchemy import Engine

from streams.kafka.produce import Publisher
from streams.kafka.watermarks import Watermarks
from streams.senders.site import Site
from worklist import senders
from worklist.freshness import Freshness, Watch
from worklist.settings import WorklistSettings
from worklist.writeback import relay
from worklist.writeback.relay import Relay


class Street:
    """Opened with the process, closed after its parts have ended."""

    def __init__(self, engine: Engine, settings: WorklistSettings, site: Site) -> None:
        self._engine = engine
        self._settings, self._site = settings, site
        self._watch: Watch | None = None
        self._publisher: Publisher | None = None
        self._relay: Relay | None = None
        self._watermarks: Watermarks | None = None
        self._keeper: senders.Keeper | None = None

    @property
    def fresh(self) -> Freshness:
        """How old the list is, by the last look."""
        return self._watch.last if self._watch else Freshness()

    @property
    def stale(self) -> bool:
        """Whether an acknowledged event has waited for longer than the site allows."""
        return not self.fresh.fresh(self._settings.stale_s)

    def open(self) -> dict[str, Coroutine[None, None, None]]:
        """What has to run for ever, by name."""
        if not self._settings.kafka:
            return {}
        self._publisher = Publisher(self._settings)
        self._watermarks = Watermarks(self._settings)
        self._watch = Watch(self._engine, self._watermarks)
        self._relay = Relay(self._engine, self._publisher.publish)
        self._keeper = senders.Keeper(
            self._engine, self._settings, self._site, lambda: datetime.now(UTC)
        )
        return {
            "freshness": _measure(self._watch),
            "relay": relay.run(self._relay),
            "senders": senders.run(self._keeper),
        }

    def close(self) -> None:
        """Lets broker and database go, once the parts have ended."""
        if self._keeper:
            self._keeper.close()
        if self._relay:
            self._relay.close()
        if self._publisher:
            self._publisher.close(1.0)
        if self._watermarks:
            self._watermarks.close()


async def _measure(watch: Watch, every_s: float = 2.0) -> None:
    """Measures for ever."""
    while True:
        await asyncio.to_thread(watch.look, datetime.now(UTC))
        await asyncio.sleep(every_s)
