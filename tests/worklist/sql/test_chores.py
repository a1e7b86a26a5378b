"""Chores: counts are folded, tables stay narrow, months come and go, and one that fails stops no
other.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from streams.errors import Unavailable
from streams.identity.seal import new_ring
from tests.worklist.record import say
from tests.worklist.sql.conftest import Database
from tests.worklist.sql.hospital import POLICY, Hospital, readable
from worklist import chores, metrics
from worklist.order.policy import Policy
from worklist.sql import counts, history, leases, queue
from worklist.sql.database import make_engine
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank

OTHER = Policy.model_validate(POLICY.model_dump() | {"name": "another"})


def write(database: Database, sql: str, **values: Any) -> None:
    with database.admin.begin() as connection:
        connection.execute(text(sql), values)


def ask(database: Database, sql: str) -> Any:
    with database.admin.connect() as connection:
        return connection.scalar(text(sql))


@pytest.fixture
def here(database: Database) -> Hospital:
    hospital = Hospital(database.app)
    hospital.activate()
    return hospital


def chores_of(database: Database, here: Hospital) -> chores.Chores:
    return chores.Chores(database.app, here.opener, closed_months=12)


def three_rows(here: Hospital) -> list[str]:
    for n in range(3):
        who = f"P{n}@HOSP"
        here.tell(say.order(f"a{n}", who), say.image(f"u1.{n} a{n}", who))
        here.tell(say.step(f"s1.9.{n} u1.{n} a{n}", who, "completed"))
    return readable(here.engine)


def counted(database: Database) -> dict[tuple[str, int, bool], int]:
    with database.app.connect() as connection:
        return {(t.state, t.lane, t.flagged): t.rows for t in counts.tallies(connection)}


def test_counts_are_what_a_count_of_the_rows_says_before_and_after_they_are_folded(
    database: Database, here: Hospital
) -> None:
    first, *_ = three_rows(here)
    here.finish(first)
    here.tell(say.report("a1", "P1@HOSP"), say.order("a9", "P9@HOSP"))
    with database.app.connect() as connection:
        found = connection.execute(
            text("""SELECT state, lane, ai = 'flagged', count(*) FROM item GROUP BY 1, 2, 3
                    UNION ALL
                    SELECT state, lane, ai = 'flagged', count(*) FROM closed GROUP BY 1, 2, 3""")
        ).all()
    wanted = {(state, lane, flagged): rows for state, lane, flagged, rows in found}
    assert {"readable", "expected", "read", "final"} == {state for state, *_ in wanted}
    assert counted(database) == wanted
    with database.app.begin() as connection:
        counts.fold(connection)
    assert counted(database) == wanted
    assert ask(database, "SELECT count(*) FROM tally") == len(wanted)


def test_counts_are_folded_when_there_are_many(database: Database, here: Hospital) -> None:
    write(
        database,
        """INSERT INTO tally (state, lane, flagged, rows)
           SELECT 'readable', 2, false, 1 FROM generate_series(1, 300)""",
    )
    chores_of(database, here).round()
    assert ask(database, "SELECT count(*) FROM tally") == 1
    assert counted(database) == {("readable", 2, False): 300}


def test_the_gauges_say_what_stands(database: Database, here: Hospital) -> None:
    first, *_ = three_rows(here)
    here.finish(first)
    chores_of(database, here).round()
    assert metrics.studies.labels("readable")._value.get() == 2
    assert metrics.studies.labels("read")._value.get() == 1
    assert metrics.waiting.labels("list")._value.get() == 2
    assert metrics.stuck._value.get() == 0
    assert metrics.list_age._value.get() > datetime.now(UTC).timestamp() - 60


def test_a_lost_browsers_lease_ends_and_the_audit_says_so(
    database: Database, here: Hospital
) -> None:
    first, *_ = three_rows(here)
    with database.app.begin() as connection:
        leases.claim(connection, first, "anna", 60)
    write(database, "UPDATE lease SET expires_at = clock_timestamp() - interval '1 s'")
    chores_of(database, here).round()
    with database.app.connect() as connection:
        assert history.claims_at(connection, datetime.now(UTC) + timedelta(1)) == {}
    assert ask(database, "SELECT actor FROM audit WHERE act = 'expire'") == "anna"


def test_what_nobody_asks_for_again_is_taken_away_and_the_rest_stays(
    database: Database, here: Hospital
) -> None:
    write(
        database,
        """INSERT INTO gone (changed, name, at) VALUES
               (1, 'old', clock_timestamp() - interval '2 hours'), (2, 'new', clock_timestamp())""",
    )
    write(
        database,
        """INSERT INTO outbox (item, kind, body, sent_at) VALUES
               ('sent long ago', 'act', '{}', clock_timestamp() - interval '8 days'),
               ('sent now', 'act', '{}', clock_timestamp()), ('not sent', 'act', '{}', NULL)""",
    )
    write(
        database,
        """INSERT INTO outbox (item, kind, body, at) VALUES
               ('act of long ago', 'act', '{}', clock_timestamp() - interval '8 days'),
               ('nobody took it', 'flagged', '{}', clock_timestamp() - interval '8 days'),
               ('flagged now', 'flagged', '{}', clock_timestamp())""",
    )
    chores_of(database, here).round()
    assert ask(database, "SELECT array_agg(name) FROM gone") == ["new"]
    assert ask(database, "SELECT array_agg(item ORDER BY id) FROM outbox") == [
        "sent now",
        "not sent",
        "act of long ago",
        "flagged now",
    ]


def test_a_series_that_no_model_answers_within_the_hour_is_told(
    database: Database, here: Hospital
) -> None:
    three_rows(here)  # of the past, by the database's clock
    image = say.image("u1.8 a8", "P8@HOSP")
    here.tell(image, say.finding(image, flagged=False))
    chores_of(database, here).round()
    assert metrics.unanswered._value.get() == 3
    write(database, "UPDATE item SET last_image_at = clock_timestamp() WHERE uid = '1.0'")
    chores_of(database, here).round()
    assert metrics.unanswered._value.get() == 2


@pytest.fixture
def months(database: Database) -> Any:
    """No month has its partition, before and after."""

    def drop() -> None:
        with database.admin.begin() as connection:
            parts = connection.scalars(
                text(
                    "SELECT oid::regclass::text FROM pg_class WHERE relname ~ '^closed_2[0-9]{3}_'"
                    " AND relkind = 'r'"
                )
            ).all()
            for part in parts:
                connection.execute(text(f"DROP TABLE {part}"))

    drop()
    yield
    drop()


def parts(database: Database, schema: str = "public") -> list[str]:
    with database.admin.connect() as connection:
        return list(
            connection.scalars(
                text("""SELECT relname FROM pg_class WHERE relname ~ '^closed_2[0-9]{3}_[0-9]{2}$'
                        AND relnamespace = CAST(:s AS regnamespace) ORDER BY 1"""),
                {"s": schema},
            )
        )


@pytest.mark.usefixtures("months")
def test_this_months_and_the_next_months_partition_are_there_before_they_are_needed(
    database: Database, here: Hospital
) -> None:
    chores_of(database, here).round()
    chores_of(database, here).round()
    now = ask(database, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    assert parts(database)[0] == f"closed_{now}"
    assert len(parts(database)) == 2


@pytest.mark.usefixtures("months")
def test_rows_that_were_closed_while_nobody_did_chores_move_to_their_month(
    database: Database, here: Hospital
) -> None:
    first, *_ = three_rows(here)
    here.finish(first)
    assert ask(database, "SELECT count(*) FROM closed_default") == 1
    chores_of(database, here).round()
    assert ask(database, "SELECT count(*) FROM closed_default") == 0
    with database.app.connect() as connection:
        assert queue.detail(connection, first)["finished_by"] == "anna"


@pytest.mark.usefixtures("months")
def test_months_older_than_the_sites_retention_leave_the_list_and_are_kept_apart(
    database: Database, here: Hospital
) -> None:
    first, second, third = three_rows(here)
    uid = ask(database, f"SELECT uid FROM item WHERE name = '{first}'")
    here.finish(first)
    here.finish(second)
    write(database, "UPDATE closed SET closed_at = '2024-02-10' WHERE name = :n", n=first)
    write(database, "UPDATE member SET closed_at = '2024-02-10' WHERE name = :n", n=first)
    with database.admin.begin() as connection:
        connection.execute(text("SELECT closed_month('2024-02-29T23:59Z')"))
        connection.execute(text("SELECT closed_month('2024-03-01T00:00Z')"))
    assert parts(database) == ["closed_2024_02", "closed_2024_03"]
    with structlog.testing.capture_logs() as lines:
        chores_of(database, here).round()
    assert parts(database, "archive") == ["closed_2024_02", "closed_2024_03"]
    assert [line["partition"] for line in lines if line["event"] == "partition_retired"]
    assert ask(database, "SELECT count(*) FROM archive.closed_2024_02") == 1
    assert counted(database) == {("read", 2, False): 1, ("readable", 2, False): 1}
    with pytest.raises(DBAPIError), database.app.connect() as connection:
        connection.execute(text("SELECT * FROM archive.closed_2024_02"))
    # A word about it comes: it is told anew, from its facts.
    n = uid.removeprefix("1.")
    here.tell(say.report(f"a{n}", f"P{n}@HOSP"))
    assert ask(database, f"SELECT count(*) FROM closed WHERE name = '{first}'") == 1
    assert third in readable(database.app)


def ranked_by_other(database: Database) -> int:
    sql = f"SELECT count(*) FROM item WHERE policy_version = '{OTHER.version}'"
    return int(ask(database, sql))


def test_a_new_policy_ranks_every_open_row_anew(database: Database, here: Hospital) -> None:
    three_rows(here)
    here.activate(OTHER, 1)
    assert rerank(database.app, here.opener, chunk=2) == 3
    assert rerank(database.app, here.opener) == 0
    assert ranked_by_other(database) == 3


def test_one_row_that_cannot_be_opened_is_marked_and_the_others_are_ranked(
    database: Database, here: Hospital
) -> None:
    """Its key is gone from the ring: it keeps its place, ops are told, and nobody stands still."""
    three_rows(here)
    stranger = Hospital(database.app, new_ring())
    stranger.tell(say.image("u1.99 a99", "P99@HOSP"))
    here.activate(OTHER, 1)
    fresh = Hospital(database.app, here.ring)
    work = chores.Chores(database.app, fresh.opener, 12)
    with structlog.testing.capture_logs() as lines:
        work.round()
        work.round()
    (told,) = [line for line in lines if line["event"] == "row_stuck"]
    assert told["reason"] == "bad_seal"
    assert ask(database, "SELECT marks FROM item WHERE uid = '1.99'")[-1] == "stuck"
    assert ask(database, "SELECT count(*) FROM item WHERE 'stuck' = ANY (marks)") == 1
    assert ranked_by_other(database) == 3
    work.round()
    assert metrics.stuck._value.get() == 1
    assert ask(database, "SELECT detail->>'reason' FROM audit WHERE act = 'stuck'") == "bad_seal"
    with database.app.connect() as connection:
        assert len(queue.listing(connection).items) == 4

    both = Opener(
        _joined(here.ring, stranger.ring), new_ring()
    )  # the key is put back, web restarted
    chores.Chores(database.app, both, 12).round()
    assert ask(database, "SELECT count(*) FROM item WHERE 'stuck' = ANY (marks)") == 0
    assert ranked_by_other(database) == 4


def _joined(ours: Any, theirs: Any) -> Any:
    """Opens what either sealed: both call their key k1, so one is tried after the other."""
    from streams.errors import Park
    from streams.identity.seal import KeyRing

    class Both(KeyRing):
        def open(self, sealed: str) -> bytes:
            try:
                return super().open(sealed)
            except Park:
                return bytes(theirs.open(sealed))

    return Both(ours.current, ours.keys, ours.pseudonym)


def test_a_row_that_breaks_a_constraint_stops_neither_the_others_nor_the_process(
    database: Database, here: Hospital
) -> None:
    three_rows(here)
    here.activate(OTHER, 1)
    write(
        database,
        "ALTER TABLE item ADD CONSTRAINT odd CHECK (uid <> '1.1' OR "
        f"policy_version <> '{OTHER.version}')",
    )
    try:
        chores_of(database, here).round()
    finally:
        write(database, "ALTER TABLE item DROP CONSTRAINT odd")
    assert ranked_by_other(database) == 2
    assert ask(database, "SELECT detail->>'reason' FROM audit WHERE act = 'stuck'") == "23514"


def test_a_chore_that_fails_is_counted_and_the_others_are_done(
    database: Database, here: Hospital
) -> None:
    before = metrics.chores_failed.labels("trim")._value.get()
    write(database, "INSERT INTO gone (changed, name, at) VALUES (1, 'old', '2020-01-01')")
    write(database, "REVOKE DELETE ON gone FROM vigie_app")
    three_rows(here)
    here.activate(OTHER, 1)
    try:
        chores_of(database, here).round()
    finally:
        write(database, "GRANT DELETE ON gone TO vigie_app")
    assert metrics.chores_failed.labels("trim")._value.get() == before + 1
    assert ranked_by_other(database) == 3


def test_one_process_does_the_chores_and_another_takes_over_when_it_ends(
    database: Database, here: Hospital
) -> None:
    other = database.admin.connect()
    other.execute(text("SELECT pg_advisory_lock(:n)"), {"n": chores._LOCK})
    write(database, "INSERT INTO gone (changed, name, at) VALUES (1, 'old', '2020-01-01')")
    chores_of(database, here).round()
    assert ask(database, "SELECT count(*) FROM gone") == 1
    other.invalidate()
    other.close()
    chores_of(database, here).round()
    chores_of(database, here).round()
    assert ask(database, "SELECT count(*) FROM gone") == 0
    assert ask(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_database_that_is_away_ends_the_round_and_nothing_else(here: Hospital) -> None:
    away = make_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        chores.Chores(away, here.opener, 12).round()
