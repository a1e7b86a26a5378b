"""A web process's own look at the street: how far the list is behind, and the relay of acts.

Without a broker in its settings it does neither, and the page says nothing of it.
"""

from __future__ import annotations

from collections.abc import Coroutine

from sqlalchemy import Engine

from streams.kafka.produce import Publisher
from streams.kafka.watermarks import Watermarks
from worklist.freshness import Freshness, Watch
from worklist.settings import WorklistSettings
from worklist.web import freshness
from worklist.writeback import relay
from worklist.writeback.relay import Relay


class Street:
    """Opened with the process, closed after its parts have ended."""

    def __init__(self, engine: Engine, settings: WorklistSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._watch: Watch | None = None
        self._publisher: Publisher | None = None
        self._relay: Relay | None = None
        self._watermarks: Watermarks | None = None

    @property
    def fresh(self) -> Freshness:
        """How old the list is, by the last look."""
        return self._watch.last if self._watch else Freshness()

    @property
    def stale(self) -> bool:
        """Whether an acknowledged event has waited for longer than the site allows."""
        return not self.fresh.fresh(self._settings.stale_s)

    @property
    def behind(self) -> dict[str, int] | None:
        """What the live page says when the list is stale: events that wait, and for how long."""
        found = self.fresh
        return (
            {"events": found.behind_events, "seconds": int(found.behind_s)} if self.stale else None
        )

    def banners(self) -> list[freshness.Banner]:
        """What has to be said over the list."""
        return freshness.banners(self.fresh, self._settings.stale_s)

    def open(self) -> dict[str, Coroutine[None, None, None]]:
        """What has to run for ever, by name."""
        if not self._settings.kafka:
            return {}
        self._publisher = Publisher(self._settings)
        self._watermarks = Watermarks(self._settings)
        self._watch = Watch(self._engine, self._watermarks)
        self._relay = Relay(self._engine, self._publisher.publish)
        return {
            "freshness": freshness.run(self._watch),
            "relay": relay.run(self._relay),
        }

    def close(self) -> None:
        """Lets broker and database go, once the parts have ended."""
        if self._relay:
            self._relay.close()
        if self._publisher:
            self._publisher.close(1.0)
        if self._watermarks:
            self._watermarks.close()
