"""Helpers of tests in which persons do things to rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worklist.sql import leases
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
