"""The schema that migrations make is the one that the models declare, from nothing and from each
release before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlmodel import SQLModel

import worklist.sql.models  # noqa: F401 — fills the metadata
from infra.embedded import Postgres
from worklist.sql import invariants, policy_store, roles
from worklist.sql.database import alembic, answers, make_engine, migrate

RELEASES = Path(__file__).parent / "releases"
#: What the server says of each table, column, constraint and index; partitions and Alembic's own
#: table apart.
CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid), l.collname,
               pg_get_partkeydef(c.oid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT c.relispartition AND c.relname <> 'alembic_version'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
        AND k.contype <> 'n' AND c.relname <> 'alembic_version'""",
    "indexes": """
        SELECT x.indrelid::regclass::text, pg_get_indexdef(x.indexrelid)
        FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
        AND c.relname <> 'alembic_version'""",
}


def inside_of(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


Fresh = Callable[[str], str]


@pytest.fixture
def fresh(server: Postgres) -> Fresh:
    """Makes an empty database of that name, with its roles; returns its owner's address."""

    def make(name: str) -> str:
        admin = make_engine(server.admin)
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        with psycopg.connect(inside_of(server.admin, name)) as inside:
            inside.execute(roles.SETUP)
        return inside_of(server.owner, name)

    return make


def catalogue(engine: Engine) -> dict[str, set[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            name: {tuple(row) for row in connection.execute(text(sql))}
            for name, sql in CATALOGUE.items()
        }


def counts(connection: Connection) -> dict[str, int]:
    """Rows of each table that is there: a later release may have more tables."""
    there = connection.scalars(text("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"))
    return {
        name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0
        for name in {table.name for table in SQLModel.metadata.sorted_tables} & set(there)
    }


@pytest.fixture
def modelled(fresh: Fresh) -> dict[str, set[tuple[object, ...]]]:
    engine = make_engine(fresh("modelled"))
    SQLModel.metadata.create_all(engine)
    found = catalogue(engine)
    engine.dispose()
    return found


def test_migrations_make_what_the_models_declare(
    fresh: Fresh, modelled: dict[str, set[tuple[object, ...]]]
) -> None:
    url = fresh("migrated")
    migrate(url)
    migrate(url)  # again changes nothing
    engine = make_engine(url)
    assert answers(engine)
    made = catalogue(engine)
    engine.dispose()
    for name, wanted in modelled.items():
        assert made[name] ^ wanted == set()
        assert len(wanted) > 15


def test_names_of_rows_compare_alike_or_no_index_finds_them(
    modelled: dict[str, set[tuple[object, ...]]],
) -> None:
    """A default collation beside the row's own made each claim read all leases."""
    tables = {"item", "closed", "member", "lease", "gone"}
    found = {
        (table, collation)
        for table, column, *_, collation, _ in modelled["columns"]
        if table in tables and column == "name"
    }
    assert found == {(table, "C") for table in tables}


def test_there_is_one_head_and_no_way_back() -> None:
    scripts = ScriptDirectory.from_config(alembic(""))
    assert len(scripts.get_heads()) == 1
    assert not [s.revision for s in scripts.walk_revisions() if hasattr(s.module, "downgrade")]


def revisions() -> list[str]:
    return [s.revision for s in ScriptDirectory.from_config(alembic("")).walk_revisions()]


@pytest.mark.parametrize("release", sorted(path.stem for path in RELEASES.glob("*.sql")))
def test_a_database_filled_by_a_release_before_keeps_its_rows(
    release: str, fresh: Fresh, modelled: dict[str, set[tuple[object, ...]]]
) -> None:
    url = fresh("older")
    command.upgrade(alembic(url), release)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql((RELEASES / f"{release}.sql").read_text().replace("%", "%%"))
        before = counts(connection)
    assert all(before[table] for table in ("fact", "item", "closed", "audit", "policy_version"))
    migrate(url)
    with engine.connect() as connection:
        after = counts(connection)
        assert {name: after[name] for name in before} == before
        assert policy_store.active(connection).version
        assert invariants.violations(connection) == {}
    assert catalogue(engine) == modelled
    engine.dispose()


def test_rows_of_0004_name_no_rule_and_that_release_goes_on_writing(fresh: Fresh) -> None:
    """In a rolling upgrade an agent of the release before writes to the migrated tables."""
    filled = (RELEASES / "0004.sql").read_text()
    rows = [line for line in filled.splitlines() if re.match(r"\S+ \S+ public.(item|closed)", line)]
    url = fresh("older")
    command.upgrade(alembic(url), "0004")
    engine = make_engine(url)

    def rules() -> list[str]:
        both = "SELECT ai_unlike FROM item UNION ALL SELECT ai_unlike FROM closed"
        return list(connection.scalars(text(both)))

    with engine.begin() as connection:
        connection.exec_driver_sql(filled.replace("%", "%%"))
    migrate(url)
    with engine.begin() as connection:
        assert rules() == [""] * len(rows)
        for table in ("item", "closed"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.exec_driver_sql("\n".join(rows).replace("%", "%%"))
        assert rules() == [""] * len(rows)
    engine.dispose()


def test_each_revision_that_was_released_has_its_rows_to_be_tested_with() -> None:
    assert {path.stem for path in RELEASES.glob("*.sql")} == set(revisions())


def test_a_database_without_this_releases_schema_is_not_ready(fresh: Fresh) -> None:
    url = fresh("bare")
    engine = make_engine(url)
    assert not answers(engine)
    migrate(url)
    assert answers(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert not answers(engine)
    engine.dispose()
    assert not answers(make_engine(url.replace("vigie_owner:", "vigie_owner:wrong")))
