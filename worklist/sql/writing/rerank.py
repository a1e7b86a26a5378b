"""Ranks anew what another policy ranked. A row that cannot be derived is marked and passed over
(`stuck`): it keeps its place, ops are told, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from streams.errors import Park
from worklist.order.policy import Policy
from worklist.sql import audit, policy_store
from worklist.sql.database import translated
from worklist.sql.models import STUCK
from worklist.sql.writing.apply import project
from worklist.sql.writing.opening import Opener

log = structlog.get_logger()

_SIDE = f"""(SELECT policy_version, name, nodes FROM item
             WHERE policy_version {{}} :version AND (policy_version, name) > (:ranked, :last)
             AND '{STUCK}' <> ALL (marks) ORDER BY policy_version, name LIMIT :n)"""
#: Both sides of the version by its index: while nothing is to do, nothing is read.
OTHERS = text(f"{_SIDE.format('<')} UNION ALL {_SIDE.format('>')} ORDER BY 1, 2 LIMIT :n")
_MARK = text(
    f"""UPDATE item SET marks = array_append(marks, '{STUCK}'), changed = txid_current(),
            changed_at = clock_timestamp()
        WHERE name = :name AND '{STUCK}' <> ALL (marks)"""
)
_UNMARK = text(
    f"""UPDATE item SET marks = array_remove(marks, '{STUCK}'), changed = txid_current(),
            changed_at = clock_timestamp()
        WHERE '{STUCK}' = ANY (marks)"""
)


def rerank(engine: Engine, opener: Opener, *, chunk: int = 100) -> int:
    """Ranks anew, in chunks, every open row that another version ranked; returns how many.
    Meanwhile each row says which version ranked it.

    Raises:
        VigieError: the database is away.
        LookupError: no policy is active.
    """
    done, after = 0, {"ranked": "", "last": ""}
    while True:
        with translated(), engine.begin() as connection:
            policy = policy_store.active(connection)
            values = {"version": policy.version, "n": chunk, **after}
            rows = connection.execute(OTHERS, values).all()
        if not rows:
            return done
        if _derive(engine, rows, policy, opener) is None:
            done += len(rows)
        else:
            done += sum(_derive_alone(engine, row, policy, opener) for row in rows)
        after = {"ranked": rows[-1].policy_version, "last": rows[-1].name}


def stuck(connection: Connection) -> int:
    """How many rows are."""
    return int(
        connection.scalar(text(f"SELECT count(*) FROM item WHERE '{STUCK}' = ANY (marks)")) or 0
    )


def try_again(connection: Connection) -> int:
    """Takes the mark from rows that were stuck, so that they are tried once more; returns how many.
    At the start of a process: perhaps it has the key now that was missing.
    """
    return connection.execute(_UNMARK).rowcount


def _derive(engine: Engine, rows: Sequence[Any], policy: Policy, opener: Opener) -> str | None:
    """Derives `rows`, and all that they reach, in one transaction; a reason when they cannot be."""
    nodes = sorted({node for row in rows for node in row.nodes})
    try:
        with translated(), engine.begin() as connection:
            project(connection, nodes, policy=policy, opener=opener)
    except Park as error:
        return str(error.reason)
    except DBAPIError as error:  # what is not the connection's trouble is the row's own
        return getattr(error.orig, "sqlstate", None) or "database"
    except ValueError as error:
        return type(error).__name__
    return None


def _derive_alone(engine: Engine, row: Any, policy: Policy, opener: Opener) -> bool:
    reason = _derive(engine, [row], policy, opener)
    if reason is None:
        return True
    with translated(), engine.begin() as connection:
        connection.execute(_MARK, {"name": row.name})
        audit.append(connection, STUCK, row.name, detail={"reason": reason})
    log.error("row_stuck", item=row.name, reason=reason)
    return False
