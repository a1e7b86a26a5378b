"""Helpers of tests in which persons do things to rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from worklist.sql import leases, queue
from worklist.sql.acts import Done
from worklist.sql.leases import Claim
from worklist.sql.queue import QueueError

LEASE_S = 60.0
Act = Callable[..., Done]
Rows = Callable[..., dict[str, dict[str, Any]]]


def take(engine: Engine, study: str, reader: str = "anna", **more: Any) -> Claim:
    with engine.begin() as connection:
        return leases.claim(connection, study, reader, LEASE_S, **more)


def refused(act: Callable[[], object]) -> tuple[str, str]:
    """With what code an act is refused, and whom it names."""
    with pytest.raises(QueueError) as told:
        act()
    return told.value.code, told.value.who


def read_it(engine: Engine, act: Act, study: str, **more: Any) -> Done:
    """Claims and finishes, as a reader does."""
    take(engine, study, more.get("actor", "anna"))
    return act("finish", study, role="reader", reason="", **more)


def only(engine: Engine, **where: Any) -> dict[str, Any]:
    """The only row of the list."""
    with engine.begin() as connection:
        (row,) = queue.listing(connection, **where).items
    return row


def run_out(engine: Engine, ago_s: float = LEASE_S) -> None:
    """All leases ran out so long ago, as if their browsers had been lost."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE lease SET expires_at = clock_timestamp() - make_interval(secs => :ago)"),
            {"ago": ago_s},
        )
