"""The list's stage, bytes to ranked rows, beside a plain loop that does its very SQL by psycopg,
and beside a bare upsert of the same events.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg

from infra.bench.hospital import Database, Recorder, Statement, database, events, replay
from infra.bench.measure import Result, compare
from streams.events import Event, decode
from streams.identity.seal import KeyRing, new_ring
from streams.kafka.consume import Fate, Origin, Settler
from worklist.agent import Stage, collect_seldom
from worklist.sql.writing.opening import Opener

BATCH = 200
#: The least that keeps the same events apart: one statement a batch, all else of the list left out.
_BARE = """
    INSERT INTO fact (key, type, nodes, received, body)
    SELECT key, type, '{}', received, body
    FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::jsonb[])
         AS e(key, type, received, body)
    ON CONFLICT (key) DO UPDATE SET received = excluded.received, body = excluded.body
    WHERE excluded.received < fact.received"""


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


def ours(base: Database, ring: KeyRing, batches: list[list[Origin]]) -> float:
    """The stage as its process runs it; seals are opened afresh in each run, as events are in
    life.
    """

    def now() -> datetime:
        return datetime.now(UTC)

    settler = Settler("worklist", ring, _unused, now)
    before = gc.get_threshold()
    collect_seldom()
    try:
        return settle(base, Stage(base.engine, settler, Opener(ring, ring), now, whole), batches)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def record(
    base: Database, ring: KeyRing, batches: list[list[Origin]]
) -> tuple[list[list[Statement]], int]:
    """What a run of ours executes, transaction by transaction, and how many rows it writes."""
    recorder = Recorder(base.engine)
    ours(base, ring, batches)
    done = recorder.stop()
    return [
        one for one in done if not any("TRUNCATE" in s.sql or "CHECKPOINT" in s.sql for s in one)
    ], recorder.rows


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Each by turns with ours, on one embedded PostgreSQL."""
    ring = new_ring()
    taken = events(100 if quick else 1000, ring, "w")
    batches = [taken[at : at + BATCH] for at in range(0, len(taken), BATCH)]
    with database() as base, psycopg.connect(base.url, options="-c timezone=UTC") as bare:
        recorded, rows = record(base, ring, batches)

        def run() -> float:
            return ours(base, ring, batches)

        def same() -> None:
            for transaction in recorded:
                replay(bare, transaction)

        columns = [_columns(batch) for batch in batches]

        def upsert() -> None:
            for batch in columns:
                bare.execute(_BARE, batch)
                bare.commit()

        sides = {
            f"the same SQL by bare psycopg ({sum(map(len, recorded)) / len(batches):.1f} statements"
            f" a batch of {BATCH}, {rows / len(taken):.1f} rows written an event)": same,
            "one bare upsert of the same events a batch": upsert,
        }
        return [
            compare(
                "worklist",
                f"the list's stage, event bytes to ranked rows, beside {what}",
                "events/s",
                run,
                _timed(base, len(taken), work),
                runs=runs,
            )
            for what, work in sides.items()
        ]


def _timed(base: Database, count: int, work: Callable[[], None]) -> Callable[[], float]:
    """A run of `work`, which takes `count` events."""

    def run() -> float:
        base.empty()
        started = time.perf_counter()
        work()
        return count / (time.perf_counter() - started)

    return run


def _columns(batch: Sequence[Origin]) -> tuple[list[object], ...]:
    """What the bare upsert of a batch says."""
    told = [
        (event.event_id, event.type, event.received_at, origin.value.decode())
        for origin in batch
        if isinstance(event := decode(origin.value), Event)
    ]
    return tuple(map(list, zip(*told, strict=True)))
