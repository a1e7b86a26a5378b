"""The page that each reader refreshes, of a full list, beside a bare look-up by primary key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import psycopg
from sqlalchemy import Connection, text

from infra.bench.hospital import Database, database, events
from infra.bench.measure import Result, compare
from streams.events import Parked, SenderSeen, decode
from streams.identity.seal import new_ring
from worklist.sql import policy_store
from worklist.sql.models import COLUMNS
from worklist.sql.queue import listing
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener

#: Rows that wait and rows that are closed, as a big hospital has after some years.
WAITING, CLOSED = 200_000, 5_000_000
QUICK_WAITING, QUICK_CLOSED = 2_000, 10_000
PAGE = 50
POOLS = tuple((f"site{place}", name) for place in range(2) for name in ("neuro", "chest", "bone"))

#: What differs between the copies of one row; `n` is the copy's number, each its own patient's.
_VARIED = {
    "uid": "t.uid || '.' || n",
    "accession": "t.accession || n",
    "accessions": "ARRAY[t.accession || n]",
    "members": "ARRAY[t.name || n]",
    "person": "t.person || n",
    "site": "'site' || n / 3 % 2",
    "subspecialty": "(ARRAY['neuro', 'chest', 'bone'])[n % 3 + 1]",
    "lane": "n / 6 % 3",
    "due_at": "t.due_at + n * interval '1 second'",
    "received_at": "t.received_at + n * interval '1 second'",
    "siblings": "'{}'",
}


def fill(base: Database, waiting: int, closed: int) -> None:
    """Copies one row that the real code wrote: `waiting` open and readable, `closed` read."""
    base.empty()
    ring = new_ring()
    told = [
        event
        for event in (decode(origin.value) for origin in events(1, ring, "t"))
        if not isinstance(event, Parked | SenderSeen)
    ]
    with base.engine.begin() as connection:
        # Rows by the million: no statement of ours in life runs that long.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        policy = policy_store.active(connection)
        apply(connection, told, policy=policy, opener=Opener(ring, ring))
        # The list holds the one row until the last statement.
        with _indexed_after(connection, "closed"):
            _copy(connection, "closed", "closed_at", "now() - n % 2000 * interval '1 hour'", closed)
        with _indexed_after(connection, "item"):
            _copy(connection, "item", "state", "'readable'", waiting)
    with base.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE item"))
        connection.execute(text("VACUUM ANALYZE closed"))


@contextmanager
def _indexed_after(connection: Connection, table: str) -> Iterator[None]:
    """Builds the indexes of `table` anew at the end: each row by itself costs them much more."""
    kept = connection.execute(
        text("""SELECT indexname AS name, replace(indexdef, ' ON ONLY ', ' ON ') AS definition
                FROM pg_indexes WHERE tablename = :table AND indexname NOT LIKE '%_pkey'"""),
        {"table": table},
    ).all()
    for index in kept:
        connection.execute(text(f"DROP INDEX {index.name}"))
    yield
    connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
    for index in kept:
        connection.execute(text(index.definition))


def _copy(connection: Connection, table: str, column: str, value: str, rows: int) -> None:
    varied = {name: _VARIED.get(name, f"t.{name}") for name in COLUMNS}
    if table == "closed":
        varied["state"] = "'final'"
    varied |= {"name": "t.name || n", column: value}
    sql = f"""INSERT INTO {table} ({", ".join(varied)}) SELECT {", ".join(varied.values())}
              FROM item t, generate_series(1, :rows) n"""  # noqa: S608
    connection.execute(text(sql), {"rows": rows})


def measure(*, runs: int, quick: bool) -> list[Result]:
    """The first page of the whole list, of one pool and of six: pages beside look-ups a second."""
    waiting, closed = (QUICK_WAITING, QUICK_CLOSED) if quick else (WAITING, CLOSED)
    pages = 50 if quick else 500
    with database() as base, psycopg.connect(base.url, autocommit=True) as bare:
        fill(base, waiting, closed)
        reference = _lookups(bare, pages * 10)

        def side(pools: Sequence[tuple[str, str]]) -> Callable[[], float]:
            return lambda: _pages(base, pools, pages)

        cases = {"the whole list": (), "one pool": POOLS[:1], "six pools": POOLS}
        return [
            compare(
                "top50",
                f"first {PAGE} rows of {case}, {waiting} waiting and {closed} closed, beside a "
                "look-up by primary key",
                "reads/s",
                side(pools),
                reference,
                runs=runs,
            )
            for case, pools in cases.items()
        ]


def _pages(base: Database, pools: Sequence[tuple[str, str]], pages: int) -> float:
    started = time.perf_counter()
    for _ in range(pages):
        with base.engine.connect() as connection:
            if len(listing(connection, limit=PAGE, pools=pools).items) != PAGE:
                raise RuntimeError("the bench's list is not full")
    return pages / (time.perf_counter() - started)


def _lookups(bare: psycopg.Connection, lookups: int) -> Callable[[], float]:
    """What ``pgbench -S`` does, by the client that ours uses: one prepared statement."""
    names = [name for (name,) in bare.execute("SELECT name FROM item ORDER BY uid LIMIT 1000")]

    def run() -> float:
        started = time.perf_counter()
        for _, name in zip(range(lookups), cycle(names)):
            bare.execute("SELECT lane FROM item WHERE name = %s", [name], prepare=True).fetchone()
        return lookups / (time.perf_counter() - started)

    return run
