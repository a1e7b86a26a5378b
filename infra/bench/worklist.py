"""The list's stage, bytes to ranked rows, beside a plain loop that does its very SQL by psycopg."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import psycopg

from infra.bench.hospital import Database, Recorder, database, events, replay
from infra.bench.measure import Result, compare
from streams.kafka.consume import Fate, Origin, Settler
from streams.seal import new_ring
from worklist.agent import Stage
from worklist.sql.writing.opening import Opener

BATCH = 200


def whole(_place: object, offset: int) -> tuple[int, int]:
    """The bench's log has no gaps."""
    return 0, offset


async def _unused(_topic: str, _key: str, _value: bytes) -> None:
    raise RuntimeError("an event of the bench was to be parked")


def settle(base: Database, stage: Stage, batches: list[list[Origin]]) -> float:
    """One run of ours: events a second."""
    base.empty()
    started = time.perf_counter()

    async def work() -> None:
        for batch in batches:
            if await stage.settle(batch) is not Fate.ACK:
                raise RuntimeError("the stage did not take a batch")

    asyncio.run(work())
    return sum(map(len, batches)) / (time.perf_counter() - started)


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Both, by turns, on one embedded PostgreSQL."""
    ring = new_ring()
    taken = events(100 if quick else 1000, ring, "w")
    batches = [taken[at : at + BATCH] for at in range(0, len(taken), BATCH)]
    with database() as base, psycopg.connect(base.url, options="-c timezone=UTC") as bare:

        def now() -> datetime:
            return datetime.now(UTC)

        def ours() -> float:
            # Seals are opened afresh in each run, as events are in life.
            stage = Stage(
                base.engine, Settler("worklist", ring, _unused, now), Opener(ring, ring), now, whole
            )
            return settle(base, stage, batches)

        recorder = Recorder(base.engine)
        ours()
        recorded = [
            one
            for one in recorder.stop()
            if not any("TRUNCATE" in s.sql or "CHECKPOINT" in s.sql for s in one)
        ]

        def reference() -> float:
            base.empty()
            started = time.perf_counter()
            for transaction in recorded:
                replay(bare, transaction)
            return len(taken) / (time.perf_counter() - started)

        what = "the list's stage, event bytes to ranked rows, beside the same SQL by bare psycopg"
        return [compare("worklist", what, "events/s", ours, reference, runs=runs)]
