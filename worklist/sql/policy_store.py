"""Which policy ranks now: kept in the database, so that every process ranks alike. A change ranks
the open rows anew, in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import DBAPIError

from streams.errors import Park
from worklist.order.policy import Policy
from worklist.sql import audit
from worklist.sql.apply import project
from worklist.sql.database import translated
from worklist.sql.opening import Opener

#: On a row that could not be ranked anew: it stands where the policy before had put it.
SKIPPED = "rank_outdated"


def active(connection: Connection) -> Policy:
    """The policy activated last.

    Raises:
        LookupError: none was activated yet, or an earlier release kept it in a form that this one
            cannot read: `vigie migrate` activates the site's.
    """
    body = connection.scalar(
        text("SELECT body FROM policy_version ORDER BY activated_at DESC, version LIMIT 1")
    )
    if body is None:
        raise LookupError("no policy is active: run `vigie policy activate`")
    try:
        return Policy.model_validate(body)
    except ValidationError:
        raise LookupError(
            "the active policy is of another release: run `vigie policy activate`"
        ) from None


def stored(connection: Connection, version: str) -> Policy | None:
    """The policy of that version, active or not; None where it is not kept, or where an earlier
    release kept it in a form that this one cannot read.
    """
    body = connection.scalar(
        text("SELECT body FROM policy_version WHERE version = :version"), {"version": version}
    )
    try:
        return Policy.model_validate(body) if body is not None else None
    except ValidationError:
        return None


def activate(connection: Connection, policy: Policy, *, actor: str, now: datetime) -> bool:
    """Makes `policy` the one that ranks; False when it already is. `rerank` follows."""
    held = connection.scalar(
        text("SELECT version FROM policy_version ORDER BY activated_at DESC, version LIMIT 1")
    )
    if held == policy.version:
        return False
    connection.execute(
        text("""INSERT INTO policy_version (version, body, activated_at, actor)
                VALUES (:version, CAST(:body AS jsonb), :at, :actor)
                ON CONFLICT (version) DO UPDATE
                SET activated_at = excluded.activated_at, actor = excluded.actor"""),
        {"version": policy.version, "body": policy.model_dump_json(), "at": now, "actor": actor},
    )
    detail = {"version": policy.version, "body": policy.model_dump(mode="json")}
    audit.append(connection, "policy", "", actor=actor, detail=detail)
    return True


class Reranked(NamedTuple):
    """How many rows were ranked anew, and how many could not be: these are marked, and stay."""

    done: int
    skipped: int


def rerank(engine: Engine, opener: Opener, *, chunk: int = 100) -> Reranked:
    """Ranks anew, in chunks, every open row that another version ranked. Meanwhile each row says
    which version ranked it. A row that cannot be opened or written stops no other one.

    Raises:
        LookupError: no policy is active.
        Unavailable, Retry: the database is away or busy.
    """
    done = skipped = 0
    last = ("", "")
    while True:
        with translated(), engine.begin() as connection:
            policy = active(connection)
            rows = _outdated(connection, policy.version, last, chunk)
            if not rows:
                return Reranked(done, skipped)
            failed = _rank(connection, rows, policy, opener)
            last = (rows[-1].policy_version, rows[-1].name)
        done, skipped = done + len(rows) - failed, skipped + failed


_OUTDATED = text(
    """(SELECT policy_version, name, nodes, marks FROM item
        WHERE policy_version < :version AND (policy_version, name) > (:last, :name)
        ORDER BY policy_version, name LIMIT :n)
       UNION ALL
       (SELECT policy_version, name, nodes, marks FROM item
        WHERE policy_version > :version AND (policy_version, name) > (:last, :name)
        ORDER BY policy_version, name LIMIT :n)
       ORDER BY policy_version, name LIMIT :n"""
)


def _outdated(
    connection: Connection, version: str, last: tuple[str, str], chunk: int
) -> Sequence[Row[Any]]:
    values = {"version": version, "last": last[0], "name": last[1], "n": chunk}
    return connection.execute(_OUTDATED, values).all()


def _rank(
    connection: Connection, rows: Sequence[Row[Any]], policy: Policy, opener: Opener
) -> int:
    """Ranks rows anew, together; where that fails one by one. Returns how many could not be."""
    nodes = sorted({node for row in rows for node in row.nodes})
    try:
        with translated(), connection.begin_nested():
            project(connection, nodes, policy=policy, opener=opener)
        return 0
    except (Park, DBAPIError):  # `translated` lets through what is the row's own fault
        if len(rows) > 1:
            return sum(_rank(connection, [row], policy, opener) for row in rows)
    _mark(connection, rows[0], policy)
    return 1


def _mark(connection: Connection, row: Row[Any], policy: Policy) -> None:
    """Says on the row, and once in the audit, that it could not be ranked anew."""
    if SKIPPED in row.marks:
        return
    connection.execute(
        text("""UPDATE item SET marks = array_append(marks, :mark), changed = txid_current(),
                    changed_at = clock_timestamp() WHERE name = :name"""),
        {"mark": SKIPPED, "name": row.name},
    )
    audit.append(connection, "rank_skipped", row.name, detail={"policy": policy.version})
