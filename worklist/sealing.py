"""The sealer, in `vigie worklist`: chains the audit, tells its anchor, and walks the whole chain
again each day. It is not web's, because web must not have the key.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from streams.errors import Misconfigured, VigieError
from streams.identity.seal import read_ring
from worklist import metrics
from worklist.settings import WorklistSettings
from worklist.sql import audit
from worklist.sql.database import make_engine, translated

log = structlog.get_logger()

#: An anchor is told so often, and the whole chain is walked so often.
_ANCHOR_EVERY = timedelta(hours=1)
_WALK_EVERY = timedelta(days=1)
_STEP = 2000  # links of the chain that one round looks at


@dataclass
class Sealer:
    """One process's sealing. Of several, one seals at a time; each walks the chain for itself."""

    engine: Engine
    key: bytes
    _told: datetime | None = None
    _walked: audit.Anchor = field(default_factory=audit.Anchor)
    _next_walk: datetime | None = None
    _highest: audit.Anchor = field(default_factory=audit.Anchor)

    def round(self, now: datetime) -> None:
        """Seals what has settled, and goes a step of the walk. Raises VigieError when the database
        is away.
        """
        with translated():
            with self.engine.begin() as connection:
                metrics.unsealed.set(audit.unsealed(connection))
            with self.engine.begin() as connection:
                audit.seal(connection, self.key)
            with self.engine.begin() as connection:
                end = audit.end(connection)
                metrics.sealed.set(end.place)
                self._look_at_end(end)
                self._walk(connection, now)
        if self._told is None or now - self._told >= _ANCHOR_EVERY:
            self._told = now
            metrics.anchor.clear()
            metrics.anchor.labels(str(end.place), end.seal).set(1)
            log.info("audit_anchor", anchor=str(end))

    def _look_at_end(self, end: audit.Anchor) -> None:
        if end.place < self._highest.place:
            self._broken(end.place + 1)
        self._highest = end

    def _walk(self, connection: Connection, now: datetime) -> None:
        if self._next_walk and now < self._next_walk:
            return
        reached, fits = audit.walk(connection, self.key, self._walked, _STEP)
        if fits and reached != self._walked:
            self._walked = reached
            return
        if fits:
            metrics.verified.set(now.timestamp())
        else:
            self._broken(reached.place + 1)
        self._walked, self._next_walk = audit.Anchor(), now + _WALK_EVERY

    def _broken(self, place: int) -> None:
        """Stays told until a person has looked and started the process anew."""
        metrics.intact.set(0)
        log.error("audit_broken", place=place)


def open_sealer(settings: WorklistSettings) -> Sealer:
    """The sealer of these settings. Raises Misconfigured without a key ring of its own."""
    if settings.audit_keys in (settings.keys, settings.act_keys):
        raise Misconfigured("VIGIE_AUDIT_KEYS: a file of its own, that vigie web cannot read")
    key = audit.chain_key(read_ring(settings.audit_keys, "VIGIE_AUDIT_KEYS"))
    url = settings.database_sealer.get_secret_value() or settings.database.get_secret_value()
    return Sealer(make_engine(url, pool=1, statement_s=settings.statement_s), key)


async def run(sealer: Sealer, every_s: float = 5.0) -> None:
    """Seals for ever; a database that is away, or that refuses, is waited for."""
    metrics.intact.set(1)
    while True:
        try:
            await asyncio.to_thread(sealer.round, datetime.now(UTC))
        except (VigieError, DBAPIError) as error:
            log.warning("audit_waits", error=type(error).__name__, why=str(error).splitlines()[0])
        await asyncio.sleep(every_s)
