"""A server as in a hospital: owner, app and sealer are three users, and none is a superuser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlmodel import SQLModel

from infra.embedded import Postgres
from worklist.sql.database import make_engine, migrate


@dataclass(frozen=True)
class Database:
    """The same database, as each of its users sees it."""

    server: Postgres
    admin: Engine
    owner: Engine
    app: Engine
    sealer: Engine

    def empty(self) -> None:
        tables = ", ".join(table.name for table in SQLModel.metadata.sorted_tables)
        with self.admin.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    # Not under pytest's own folder: another run closes that to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="vigie-pg-"))
    with Postgres(folder) as one:
        # What tests write need not survive a power cut, and a slow disk costs them minutes.
        with psycopg.connect(one.admin, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield one
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def three_users(server: Postgres) -> Iterator[Database]:
    migrate(server.owner)
    engines = [make_engine(url) for url in (server.admin, server.owner, server.url, server.sealer)]
    yield Database(server, *engines)
    for engine in engines:
        engine.dispose()


@pytest.fixture
def database(three_users: Database) -> Database:
    """Empty before each test."""
    three_users.empty()
    return three_users
