"""What each of the database's users may, and that no value of a row gets into a log or an error."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from streams.errors import Retry, Unavailable
from tests.worklist.record import say
from tests.worklist.sql.conftest import Database
from tests.worklist.sql.hospital import Hospital, readable
from worklist.chores import partition
from worklist.sql import audit, roles
from worklist.sql.database import make_engine, migrate, translated

CANARY = "KANARIENVOGEL"
NOT_ALLOWED = "42501"


def refused(engine: Engine, sql: str) -> str | None:
    """The SQLSTATE of `sql`; None when it was done."""
    try:
        with engine.begin() as connection:
            connection.execute(text(sql))
    except DBAPIError as error:
        return str(getattr(error.orig, "sqlstate", ""))
    return None


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit SET reason = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT INTO audit (at, act) VALUES ('2020-01-01', 'a')",
        "INSERT INTO audit (xid, act) VALUES (1, 'a')",
        "UPDATE audit_seal SET seal = 'x'",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal",
        "INSERT INTO audit_seal VALUES (1, 1, 'x')",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "CREATE TABLE other (x int)",
        "UPDATE alembic_version SET version_num = 'x'",
        "SET ROLE vigie_owner",
        "SET ROLE vigie_sealer",
    ],
)
def test_the_app_cannot_change_what_the_audit_holds(database: Database, sql: str) -> None:
    assert refused(database.app, sql) == NOT_ALLOWED


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit SET reason = 'x'",
        "DELETE FROM audit",
        "INSERT INTO audit (act, item, actor, reason, detail) VALUES ('a', '', '', '', '{}')",
        "UPDATE audit_seal SET seal = 'x'",
        "DELETE FROM audit_seal",
        "SELECT patient_name FROM item",
        "SELECT * FROM lease",
        "SELECT closed_month(now())",
    ],
)
def test_the_sealer_reads_the_audit_and_adds_seals_and_no_more(
    database: Database, sql: str
) -> None:
    assert refused(database.sealer, sql) == NOT_ALLOWED


def test_the_app_does_all_that_the_list_needs(database: Database) -> None:
    here = Hospital(database.app)
    here.activate()
    here.tell(say.order("a1"), image := say.image("u1.1 a1"), say.finding(image))
    here.tell(say.step("s1.9 u1.1 a1", status="completed"))
    (study,) = readable(database.app)
    here.finish(study)
    with database.app.begin() as connection:
        partition(connection, 12)
    with database.sealer.begin() as connection:
        assert audit.seal(connection, b"key") > 3
    with database.app.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM closed")) == 1
        assert roles.weaknesses(connection) == []


def test_no_user_of_the_list_is_a_superuser_or_makes_roles(database: Database) -> None:
    with database.admin.connect() as connection:
        found = connection.execute(
            text("""SELECT rolname FROM pg_roles WHERE rolname ~ '^vigie' AND NOT (rolsuper
                    OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)""")
        ).scalars()
        assert sorted(found) == ["vigie_app", "vigie_owner", "vigie_sealer"]


def test_a_right_that_somebody_gave_away_is_said_and_taken_back_by_migrate(
    database: Database,
) -> None:
    with database.admin.begin() as connection:
        connection.execute(text("GRANT UPDATE, DELETE ON audit TO vigie_app"))
    with database.app.connect() as connection:
        assert roles.weaknesses(connection) == [
            "the database's user may DELETE audit",
            "the database's user may UPDATE audit",
        ]
    migrate(database.server.owner)
    with database.app.connect() as connection:
        assert roles.weaknesses(connection) == []


def test_each_table_of_the_models_is_granted(database: Database) -> None:
    with database.app.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            assert connection.scalar(
                text("SELECT has_table_privilege(:t, 'SELECT')"), {"t": table.name}
            ), table.name


#: Each makes PostgreSQL name the value: in the message, in its detail, in the statement.
BREAKS = {
    "not null": "INSERT INTO item (name, patient_name) VALUES ('a', :canary)",
    "unique": """INSERT INTO member (member, name) VALUES (:canary, 'a'), (:canary, 'b')""",
    "syntax of a value": "SELECT CAST(:canary AS integer)",
    "json": "SELECT CAST(:canary AS jsonb)",
    "too long": "SELECT CAST(:canary AS timestamptz)",
    "raised": "DO $$ BEGIN RAISE EXCEPTION '%', 'KANARIEN' || 'VOGEL'; END $$",
}


@pytest.mark.parametrize("how", sorted(BREAKS))
@pytest.mark.parametrize("user", ["app", "owner", "sealer"])
def test_promise_8_an_error_of_the_database_names_nobody(
    database: Database, how: str, user: str
) -> None:
    log = Path(database.server.log)
    engine: Engine = getattr(database, user)
    told = ""
    values = {"canary": CANARY} if ":canary" in BREAKS[how] else {}
    try:
        with translated(), engine.begin() as connection:
            connection.execute(text(BREAKS[how]), values)
    except DBAPIError as error:
        told = traceback.format_exc() + repr(error) + str(error) + repr(error.orig)
    assert told
    assert "SQLSTATE" in told
    assert CANARY not in told
    assert CANARY not in log.read_text()


def test_promise_8_the_canary_would_be_seen(database: Database) -> None:
    """The server's own words do name the value: without our settings they would be in its log."""
    import psycopg

    named = pytest.raises(psycopg.errors.InvalidTextRepresentation, match=CANARY)
    with psycopg.connect(database.server.url) as connection, named:
        connection.execute("SELECT CAST(%s AS integer)", [CANARY])


def test_connection_trouble_waits_a_lock_is_tried_again_and_the_rest_is_the_events_own(
    database: Database,
) -> None:
    long_row = (
        "INSERT INTO node (key) SELECT string_agg(md5(n::text), '') FROM generate_series(1, 900) n"
    )
    with pytest.raises(DBAPIError, match="54000"), translated(), database.app.begin() as one:
        one.execute(text(long_row))
    gone = make_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable), translated(), gone.connect():
        pass
    with database.app.begin() as holder:
        holder.execute(text("LOCK TABLE node"))
        with database.app.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(Retry), translated():
                other.execute(text("SELECT * FROM node"))


def test_a_statement_without_end_is_ended(database: Database) -> None:
    short = make_engine(database.server.url, statement_s=0.2)
    with pytest.raises(DBAPIError, match="57014"), translated(), short.connect() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    short.dispose()


def test_a_session_notices_a_peer_that_is_gone(database: Database) -> None:
    with database.app.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        said = raw.info.get_parameters()
    assert said["tcp_user_timeout"] == "15000"
    assert (said["keepalives"], said["keepalives_idle"]) == ("1", "10")


def test_the_roles_can_be_set_up_again(database: Database) -> None:
    import psycopg

    with psycopg.connect(database.server.admin) as connection:
        connection.execute(roles.SETUP)
        before = connection.execute("SELECT * FROM pg_roles ORDER BY oid").fetchall()
        connection.execute(roles.SETUP)
        assert connection.execute("SELECT * FROM pg_roles ORDER BY oid").fetchall() == before
