"""The database: its engine, its migrations, and its errors as those that `settle` knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streams.errors import Reason, Retry, Unavailable
from worklist.sql import roles

#: Deadlock, serialisation failure (PostgreSQL, appendix A): the same again will do.
_AGAIN = {"40P01", "40001"}

#: A lock not had in time: whoever holds it (CREATE INDEX, a vacuum by hand) will be done some time.
_LOCKED = {"55P03"}

#: No such table or column: this release's schema is not there yet, and somebody will bring it.
_NOT_MIGRATED = {"42P01", "42703"}

#: Classes that pass by themselves, and are waited for.
_AWAY = ("08", "53", "57P", "25006")

#: A peer that went away without a word is noticed after about 25 s idle, 15 s in mid-statement.
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def make_engine(url: str, *, pool: int = 8, statement_s: float = 60) -> Engine:
    """An engine on the PostgreSQL at `url`, by psycopg 3. Sessions that die idle in a transaction
    hold no snapshot for long; no error of it carries a value of a row (promise 8).

    Args:
        statement_s: a statement that runs longer is ended, seconds.
    """
    options = {
        "timezone": "UTC",
        # Each statement is short: compiling one takes longer than it ever runs.
        "jit": "off",
        "idle_in_transaction_session_timeout": "30s",
        "lock_timeout": "10s",
        "statement_timeout": f"{round(statement_s * 1000)}ms",
    }
    engine = create_engine(
        _with_driver(url),
        pool_size=pool,
        max_overflow=pool,
        pool_pre_ping=True,
        pool_timeout=5,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            **_KEEPALIVE,
        },
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(engine, "handle_error", keep_values_out)
    return engine


def keep_values_out(context: ExceptionContext) -> None:
    """Leaves of an error only its class and what it is about: PostgreSQL's own text names values,
    as in "Failing row contains (…)".
    """
    found = context.original_exception
    diag = getattr(found, "diag", None)
    state = getattr(found, "sqlstate", None)
    if diag is None or state is None:
        return  # not from the server: it names addresses, no rows
    about = diag.constraint_name or diag.column_name or diag.table_name or ""
    found.args = (f"SQLSTATE {state} {about}".rstrip(),)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = found.args


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )


def alembic(url: str) -> Config:
    """What Alembic has to know of our migrations, for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.set_main_option("sqlalchemy.url", _with_driver(url).replace("%", "%%"))
    return config


def migrate(url: str) -> None:
    """Brings the database at `url`, as its owner, to this release's schema, and grants the roles
    what they may. Idempotent; one at a time (advisory lock).

    Raises:
        Unavailable: the database does not answer.
    """
    with translated():
        command.upgrade(alembic(url), "head")
        engine = make_engine(url, pool=1)
        try:
            with engine.begin() as connection:
                roles.grant(connection)
        finally:
            engine.dispose()


def answers(engine: Engine) -> bool:
    """Whether the database answers and has this release's schema, neither an older nor a later."""
    head = ScriptDirectory.from_config(alembic("")).get_current_head()
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT version_num FROM alembic_version")) == head)
    except DBAPIError:
        return False


@contextmanager
def translated() -> Iterator[None]:
    """Database errors as `settle` knows them: trouble with the connection, none that is free and a
    lock that somebody holds are Unavailable, a conflict is Retry; any other error passes as it is.
    """
    try:
        yield
    except PoolTimeout:
        raise Unavailable(Reason.DATABASE_DOWN, "pool") from None
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _AGAIN:
            raise Retry(Reason.DATABASE_DOWN, "conflict") from None
        if state in _LOCKED:
            raise Unavailable(Reason.DATABASE_DOWN, "lock") from None
        if state in _NOT_MIGRATED:
            raise Unavailable(Reason.DATABASE_DOWN, "schema") from None
        # No state: the connection broke. 08: connection, 53: out of resources, 57P: shut down,
        # 25006: read-only after a failover. Class 54 (a row too long) is the event's own fault.
        lost = not state and isinstance(error, OperationalError | InterfaceError)
        if lost or error.connection_invalidated or state.startswith(_AWAY):
            raise Unavailable(Reason.DATABASE_DOWN, "database") from None
        raise
