"""Of several processes, one does it: who has an advisory lock, for as long as its session lives."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from worklist.sql.database import translated


class Leader:
    """One process's try to be the one. `number` names the work, the same in each process."""

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number
        self._session: Connection | None = None

    def leads(self) -> bool:
        """Whether this process is the one, now. Raises Unavailable when the database is away."""
        with translated():
            if self._session is None:
                self._session = self._engine.connect().execution_options(
                    isolation_level="AUTOCOMMIT"
                )
            try:
                # Who has it gets it again, as long as the session lives.
                mine = self._session.scalar(
                    text("SELECT pg_try_advisory_lock(:number)"), {"number": self._number}
                )
            except DBAPIError:
                self.close()
                raise
        return bool(mine)

    def close(self) -> None:
        """Lets another lead."""
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
            self._session = None
