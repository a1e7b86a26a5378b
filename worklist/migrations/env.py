"""Alembic's entry: online only, under an advisory lock so that two starters do not migrate at once."""

from alembic import context
from sqlalchemy import create_engine, event, pool, text
from sqlmodel import SQLModel

import worklist.sql.models  # noqa: F401 — fills the metadata
from worklist.sql.database import keep_values_out

_LOCK = 7_310_001

engine = create_engine(
    context.config.get_main_option("sqlalchemy.url") or "",
    poolclass=pool.NullPool,
    hide_parameters=True,
)
event.listen(engine, "handle_error", keep_values_out)
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": _LOCK})
    connection.commit()
    context.configure(connection=connection, target_metadata=SQLModel.metadata)
    with context.begin_transaction():
        context.run_migrations()
