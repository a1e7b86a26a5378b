"""The next study of a full list, claimed, beside its very SQL by psycopg and the barest queue."""

from __future__ import annotations

import time

import psycopg

from infra.bench.hospital import Database, Recorder, database, replay
from infra.bench.measure import Result, compare
from infra.bench.top50 import QUICK_WAITING, WAITING, fill
from worklist.sql import leases

_LEASE_S = 600.0
#: A claim as one would write it without leases, audit, siblings or marks of who reads elsewhere.
_BAREST = """UPDATE bare SET reader = 'anna' WHERE name = (
    SELECT name FROM bare WHERE reader = '' ORDER BY lane, due_at, received_at, name
    LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING name"""


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Claims a second, each in a transaction of its own, one after another by one reader."""
    waiting, claims = (QUICK_WAITING, 50) if quick else (WAITING, 500)
    with database() as base, psycopg.connect(base.url, options="-c timezone=UTC") as bare:
        fill(base, waiting, 0)
        _make_barest(bare)

        def ours() -> float:
            _free(bare)
            return _claim(base, claims)

        _free(bare)
        recorder = Recorder(base.engine)
        _claim(base, claims)
        recorded = recorder.stop()

        def same() -> float:
            _free(bare)
            started = time.perf_counter()
            for transaction in recorded:
                replay(bare, transaction)
            return claims / (time.perf_counter() - started)

        def barest() -> float:
            _fill_barest(bare)
            started = time.perf_counter()
            for _ in range(claims):
                bare.execute(_BAREST).fetchall()
                bare.commit()
            return claims / (time.perf_counter() - started)

        what = f"the next study of {waiting} claimed, beside"
        return [
            compare("claim", f"{what} {beside}", "claims/s", ours, reference, runs=runs)
            for beside, reference in (
                ("the same SQL by bare psycopg", same),
                ("one UPDATE that skips what is locked", barest),
            )
        ]


def _claim(base: Database, claims: int) -> float:
    started = time.perf_counter()
    for _ in range(claims):
        with base.engine.begin() as connection:
            if leases.next_study(connection, "anna", _LEASE_S) is None:
                raise RuntimeError("the bench's list is empty")
    return claims / (time.perf_counter() - started)


def _free(bare: psycopg.Connection) -> None:
    """Nobody has anything: each run begins alike."""
    bare.execute("TRUNCATE lease, audit, audit_seal")
    bare.commit()


def _make_barest(bare: psycopg.Connection) -> None:
    bare.execute("""CREATE TABLE bare (name text COLLATE "C" PRIMARY KEY, lane int NOT NULL,
                    due_at timestamptz NOT NULL, received_at timestamptz NOT NULL,
                    reader text NOT NULL)""")
    bare.execute("""CREATE INDEX bare_next ON bare (lane, due_at, received_at, name)
                    WHERE reader = ''""")
    bare.commit()


def _fill_barest(bare: psycopg.Connection) -> None:
    bare.execute("TRUNCATE bare")
    bare.execute("INSERT INTO bare SELECT name, lane, due_at, received_at, '' FROM item")
    bare.execute("ANALYZE bare")
    bare.commit()
