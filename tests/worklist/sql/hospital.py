"""A small hospital in the database: events of some patients, a read study, a claim, an act; for
tests that need something in each table, and for the rows of a release.

``python -m tests.worklist.sql.hospital`` prints such a database's rows, as `releases/` keeps them:
run it once when a release is made.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Engine, text

from infra.embedded import Postgres
from streams.events import Event, SenderSeen
from streams.identity.seal import KeyRing, new_ring
from streams.kafka.parked import Entry
from streams.kafka.reading import Part, Record
from tests.parked import parked_message
from tests.worklist.record import say
from worklist.order.policy import Policy, load
from worklist.record.facts import Fact
from worklist.sql import acts, audit, leases, policy_store
from worklist.sql.database import make_engine, migrate
from worklist.sql.senders import keeping
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener

ROOT = Path(__file__).parents[3]
POLICY = load(ROOT / "infra" / "site").model_copy(update={"live": ("head-ct-ich",)})


class Hospital:
    """Applies what `say` says, under keys of its own."""

    def __init__(self, engine: Engine, ring: KeyRing | None = None) -> None:
        self.engine = engine
        self.ring = ring or new_ring()
        self.opener = Opener(self.ring, new_ring())

    def event(self, fact: Fact) -> Event:
        if fact.act:
            return self.opener.seal_act(fact.act)
        if fact.identity and fact.event.identity:  # type: ignore[union-attr]
            sealed = self.ring.seal_identity(fact.identity)
            return fact.event.model_copy(update={"identity": sealed})
        return fact.event

    def tell(self, *facts: Fact, policy: Policy = POLICY) -> None:
        """Each in a transaction of its own."""
        for fact in facts:
            with self.engine.begin() as connection:
                apply(connection, [self.event(fact)], policy=policy, opener=self.opener)

    def activate(self, policy: Policy = POLICY, minutes: float = 0) -> None:
        with self.engine.begin() as connection:
            policy_store.activate(connection, policy, actor="test", now=say.at(minutes))

    def finish(self, study: str, reader: str = "anna") -> None:
        with self.engine.begin() as connection:
            taken = leases.claim(connection, study, reader, 60)
            wish = acts.Wish("finish", taken.study, reader, "reader", token=taken.token)
            acts.do(connection, wish, policy=POLICY, opener=self.opener)


def readable(engine: Engine) -> list[str]:
    """Names of the rows that can be read, in reading order."""
    with engine.connect() as connection:
        return list(
            connection.scalars(
                text("""SELECT name FROM item WHERE state = 'readable'
                        ORDER BY lane, due_at, received_at, name""")
            )
        )


def fill(engine: Engine, key: bytes) -> None:
    """Something in each table."""
    here = Hospital(engine)
    here.activate()
    for patient in range(4):
        who = f"P{patient}@HOSP/19600101/DUPONT"
        image = say.image(f"u1.{patient} a{patient}", who)
        here.tell(
            say.order(f"a{patient} f{patient}", who, "stat"),
            image,
            say.step(f"s1.9.{patient} u1.{patient} a{patient}", who, "completed"),
            say.finding(image, flagged=patient == 0),
        )
    here.tell(say.report("a3 f3", "P3@HOSP/19600101"), say.merge("P2@HOSP", "P9@HOSP"))
    first, second, *_ = readable(engine)
    here.finish(first)
    with engine.begin() as connection:
        leases.claim(connection, second, "ben", 600)
        connection.execute(
            text(
                """INSERT INTO log_position (topic, partition, "offset") VALUES ('orders', 0, 9)"""
            )
        )
    _senders(engine)
    with engine.begin() as connection:
        audit.seal(connection, key, limit=10)


def _senders(engine: Engine) -> None:
    """A RIS that was heard twice, and what of it was refused and kept."""
    with engine.begin() as connection:
        words = [say_of_sender(hour, hour + 1) for hour in range(2)]
        keeping.keep_words(connection, words, say.at(120))
        parked = parked_message("", say.at(0), sender="ris", where="ORC-1")
        part = Part(0, [Record(0, b"")], 1, False)
        keeping.go_on(connection, ("parked", 0), 0, part)
        keeping.keep_parked(connection, 0, part, [Entry("0-0", parked)])


def say_of_sender(hour: int, count: int) -> SenderSeen:
    """What a gateway says of the RIS in that hour: so many messages since it started."""
    return SenderSeen(
        gateway="g1",
        sender="ris",
        door="mllp",
        since=say.at(0),
        at=say.at(60 * hour),
        last_at=say.at(60 * hour),
        answers={"AA": count, "AE": 1},
        refusals={"bad_field": 1},
    )


def _rows() -> str:
    """What `fill` makes, as statements."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder)) as server:
        migrate(server.owner)
        engine = make_engine(server.owner)
        fill(engine, b"key")
        engine.dispose()
        words = ["--data-only", "--column-inserts", "--no-owner", "--exclude-table=alembic_version"]
        done = subprocess.run(
            [server.programs / "pg_dump", *words, server.owner],
            check=True,
            capture_output=True,
            text=True,
        )
    kept = ("INSERT", "SELECT pg_catalog.setval")
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith(kept))


if __name__ == "__main__":
    sys.stdout.write(_rows() + "\n")
