"""The same little hospital for every bench: studies as events, and a database to put them in."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event, text

from infra.embedded import Postgres
from streams.events import (
    Finding,
    FindingsMade,
    Number,
    OrderChanged,
    SeriesReceived,
    Version,
    encode,
)
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, instance_name, patient_of
from streams.instances import pack
from streams.kafka.consume import Origin
from streams.kafka.topics import FINDINGS, ORDERS, SERIES
from streams.sealed import Identity
from worklist.order.policy import load
from worklist.sql import policy_store
from worklist.sql.database import make_engine, migrate

T0 = datetime(2026, 3, 14, 8, 0, tzinfo=UTC)
_SITE = Path(__file__).parents[1] / "site"
_PRIORITIES = ("routine", "routine", "urgent", "stat")
_IMAGES = 30


def events(studies: int, ring: KeyRing, tag: str) -> list[Origin]:
    """The events of `studies` studies as Kafka brings them: orders, then series, then findings, a
    hundred studies at a time.
    """
    found: list[Origin] = []
    for start in range(0, studies, 100):
        block = [_study(number, ring, tag) for number in range(start, min(studies, start + 100))]
        found += [one[kind] for kind in range(3) for one in block]
    return found


def _study(number: int, ring: KeyRing, tag: str) -> tuple[Origin, Origin, Origin]:
    study = _Study(number, ring, tag)
    key = digest(study.accession.encode()).encode()
    return (
        Origin(ORDERS.name, 0, number, key, encode(study.order())),
        Origin(SERIES.name, 0, number, key, encode(study.series())),
        Origin(FINDINGS.name, 0, number, key, encode(study.finding())),
    )


class _Study:
    """One study of the bench: its three events, a minute or ten apart."""

    def __init__(self, number: int, ring: KeyRing, tag: str) -> None:
        patient = f"{tag}P{number}"
        identity = Identity(
            patient_id=patient, issuer="H", name=f"NAME^{patient}", birth_date="19600101"
        )
        self._number, self._secret = number, ring.pseudonym
        self._person: dict[str, Any] = {
            "patient": patient_of(ring.pseudonym, "H", patient),
            "identity": ring.seal_identity(identity),
            "numbers": (Number(kind="accession", value=f"{tag}A{number}"),),
        }
        self._uid = f"1.2.826.0.{int(digest(tag.encode())[:8], 16)}.{number}"
        self._ordered = T0 + timedelta(seconds=number)
        self.accession = f"{tag}A{number}"

    def _base(self, kind: str, minutes: float) -> dict[str, Any]:
        at = self._ordered + timedelta(minutes=minutes)
        name = self._name(kind)
        return {
            "event_id": name,
            "sender": "bench",
            "received_at": at,
            "version": Version(time=at, message_time=at, digest=name),
        }

    def _name(self, kind: str) -> str:
        return digest(f"{kind}{self.accession}".encode())

    def order(self) -> OrderChanged:
        """The RIS orders it."""
        return OrderChanged(
            **self._base("order", 0),
            **self._person,
            priority=_PRIORITIES[self._number % 4],
            modality="CT",
            description="CT head",
        )

    def series(self) -> SeriesReceived:
        """Its images come."""
        names = (instance_name(self._secret, f"{self._uid}.1.{at}") for at in range(_IMAGES))
        return SeriesReceived(
            **self._base("series", 10),
            **self._person,
            study_uid=self._uid,
            series_uid=f"{self._uid}.1",
            gateway="g",
            reference="ab/cd",
            instances=pack(names),
            sop_class="1.2.840.10008.5.1.4.1.1.2",
            modality="CT",
            acquired_at=self._ordered + timedelta(minutes=5),
        )

    def finding(self) -> FindingsMade:
        """A model has read it; every fifth is flagged."""
        flagged = self._number % 5 == 0
        bleed = Finding(
            code="RID4700", name="haemorrhage", flagged=flagged, probability=0.9, threshold=0.5
        )
        return FindingsMade(
            **self._base("finding", 11),
            **self._person,
            study_uid=self._uid,
            series_uid=f"{self._uid}.1",
            package="head-ct-ich",
            package_version="1",
            input_digest=self._name("series"),
            outcome="flagged" if flagged else "not_flagged",
            screened_at=self._ordered + timedelta(minutes=11),
            findings=(bleed,),
        )


#: What a run leaves behind; the policy stays.
_EMPTIED = (
    "fact, node, naming, patient_number, item, closed, member, lease, gone, tally, "
    "audit, audit_seal, outbox"
)


@dataclass(frozen=True)
class Database:
    """The bench's own PostgreSQL, at this release's schema, with the example site's policy."""

    url: str
    engine: Engine
    admin: Engine

    def empty(self) -> None:
        """Rows away, policy kept, statistics fresh: each run begins alike."""
        with self.engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {_EMPTIED}"))
        with self.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))


@contextmanager
def database() -> Iterator[Database]:
    """Starts it, and ends it."""
    with (
        tempfile.TemporaryDirectory(prefix="vigie-bench-", ignore_cleanup_errors=True) as folder,
        Postgres(Path(folder)) as server,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            migrate(server.owner)
        engine = make_engine(server.owner)
        with engine.begin() as connection:
            policy_store.activate(
                connection,
                load(_SITE).model_copy(update={"live": ("head-ct-ich", "chest-opacity")}),
                actor="bench",
                now=T0,
            )
        admin = make_engine(server.admin)
        try:
            yield Database(server.owner, engine, admin)
        finally:
            engine.dispose()
            admin.dispose()


@dataclass(frozen=True)
class Statement:
    """One round trip that our code made."""

    sql: str
    values: Any
    many: bool


_WRITTEN = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"


def _written(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(_WRITTEN)) or 0)


class Recorder:
    """Notes what `engine` executes, transaction by transaction: the plain loop then does the very
    same SQL.

    Attributes:
        rows: how many rows were written in all.
    """

    def __init__(self, engine: Engine) -> None:
        self.transactions: list[list[Statement]] = []
        self.rows = 0
        self._before = _written(engine)
        self._undo = (
            (engine, "begin", self._begin),
            (engine, "before_cursor_execute", self._execute),
            (engine, "commit", self._commit),
        )
        for listening in self._undo:
            event.listen(*listening)

    def _begin(self, _connection: object) -> None:
        self.transactions.append([])

    def _commit(self, connection: Connection) -> None:
        # What was written is told at once, not with what comes within the next second.
        connection.connection.cursor().execute("SELECT pg_stat_force_next_flush()")

    def _execute(
        self,
        _connection: object,
        _cursor: object,
        sql: str,
        values: Any,
        _context: object,
        many: bool,
    ) -> None:
        self.transactions[-1].append(Statement(sql, values, many))

    def stop(self) -> list[list[Statement]]:
        """Listens no more; what was noted, transactions without a statement left out."""
        for engine, name, listener in self._undo:
            event.remove(engine, name, listener)
        self.rows = _written(self._undo[0][0]) - self._before
        return [statements for statements in self.transactions if statements]


def replay(connection: psycopg.Connection, statements: Sequence[Statement]) -> None:
    """One recorded transaction by bare psycopg, its answers fetched as ours are."""
    with connection.cursor() as cursor:
        for one in statements:
            if one.many:
                cursor.executemany(one.sql, one.values)
            else:
                cursor.execute(one.sql, one.values)
                if cursor.description is not None:
                    cursor.fetchall()
    connection.commit()
