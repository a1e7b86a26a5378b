"""One more order under a number that thousands of patients name, beside one under a fresh number:
a modality that gives every study the same number must not slow the list down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import text

from infra.bench.hospital import Database, database, events
from infra.bench.measure import Result, compare
from streams.events import Event, Number, OrderChanged, decode
from streams.identity.seal import KeyRing, new_ring
from worklist.sql import policy_store
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener

_BAD = Number(kind="accession", value="BAD")
_BATCH = 100


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Orders a second, each in a transaction of its own; both on one database."""
    named, each = (300, 10) if quick else (10_000, 50)
    ring = new_ring()
    with database() as base:
        base.empty()
        before = _under_bad(_orders(named, ring, "before"))
        for at in range(0, named, _BATCH):
            _apply(base, ring, [before[at : at + _BATCH]])
        with base.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        total = (runs + 1) * each
        what = f"one more order under a number of {named} patients, beside one under a fresh number"
        bad = iter(_under_bad(_orders(total, ring, "bad")))
        fresh = iter(_orders(total, ring, "fresh"))
        sides = (_side(base, ring, orders, each) for orders in (bad, fresh))
        return [compare("bad-numbers", what, "events/s", *sides, runs=runs)]


def _orders(count: int, ring: KeyRing, tag: str) -> list[OrderChanged]:
    """Orders of as many patients, each under its own number."""
    found = (decode(origin.value) for origin in events(count, ring, tag))
    return [event for event in found if isinstance(event, OrderChanged)]


def _under_bad(orders: Sequence[OrderChanged]) -> list[OrderChanged]:
    return [order.model_copy(update={"numbers": (_BAD,)}) for order in orders]


def _side(
    base: Database, ring: KeyRing, orders: Iterator[OrderChanged], each: int
) -> Callable[[], float]:
    """A run applies the next `each` of `orders`."""

    def run() -> float:
        batches = [[next(orders)] for _ in range(each)]
        started = time.perf_counter()
        _apply(base, ring, batches)
        return each / (time.perf_counter() - started)

    return run


def _apply(base: Database, ring: KeyRing, batches: Sequence[Sequence[Event]]) -> None:
    opener = Opener(ring, ring)
    for batch in batches:
        with base.engine.begin() as connection:
            policy = policy_store.active(connection)
            apply(connection, batch, policy=policy, opener=opener)
