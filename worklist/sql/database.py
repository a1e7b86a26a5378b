"""The database: its engine, its migrations, and its errors as those that `settle` knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from streams.errors import Reason, Retry, Unavailable

#: Deadlock and serialisation failure: the same again will do (PostgreSQL, appendix A).
_AGAIN = {"40P01", "40001", "55P03"}

#: No such table or column: this release's schema is not there yet, and somebody will bring it.
_NOT_MIGRATED = {"42P01", "42703"}


def make_engine(url: str, *, pool: int = 8) -> Engine:
    """An engine on the PostgreSQL at `url`, by psycopg 3. Sessions that die idle in a transaction
    hold no snapshot for long.
    """
    return create_engine(
        _with_driver(url),
        pool_size=pool,
        max_overflow=pool,
        pool_pre_ping=True,
        pool_timeout=5,
        connect_args={
            "connect_timeout": 3,
            "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=30s"
            " -c lock_timeout=10s",
        },
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.set_main_option("sqlalchemy.url", _with_driver(url).replace("%", "%%"))
    return config


def migrate(url: str) -> None:
    """Brings the database at `url` to this release's schema. Idempotent; one at a time (advisory
    lock).

    Raises:
        Unavailable: the database does not answer.
    """
    with translated():
        command.upgrade(_alembic(url), "head")


@contextmanager
def translated() -> Iterator[None]:
    """Database errors as `settle` knows them: trouble with the connection is Unavailable, a
    conflict is Retry; any other error passes as it is.
    """
    try:
        yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _AGAIN:
            raise Retry(Reason.DATABASE_DOWN, "conflict") from None
        if state in _NOT_MIGRATED:
            raise Unavailable(Reason.DATABASE_DOWN, "schema") from None
        # 53: out of resources, 57: shut down, 08: connection, 25006: read-only after a failover.
        if (
            isinstance(error, OperationalError)
            or error.connection_invalidated
            or state[:2] in ("08", "53", "57")
            or state == "25006"
        ):
            raise Unavailable(Reason.DATABASE_DOWN) from None
        raise
