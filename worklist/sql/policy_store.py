"""Which policy ranks now: kept in the database, so that every process ranks alike. A change ranks
all rows anew, in chunks.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, text

from worklist.order.policy import Policy
from worklist.sql import audit
from worklist.sql.project import Identities, project


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
        text("SELECT body FROM policy_version WHERE version = :v"), {"v": version}
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
                VALUES (:v, CAST(:b AS jsonb), :t, :a)
                ON CONFLICT (version) DO UPDATE
                SET activated_at = excluded.activated_at, actor = excluded.actor"""),
        {"v": policy.version, "b": policy.model_dump_json(), "t": now, "a": actor},
    )
    audit.append(
        connection,
        "policy",
        "",
        actor=actor,
        detail={"version": policy.version, "name": policy.name},
    )
    return True


def rerank(engine: Engine, identities: Identities, *, chunk: int = 100) -> int:
    """Ranks anew, in chunks, every row that another version ranked; returns how many. Meanwhile
    each row says which version ranked it.
    """
    done, last = 0, ""
    while True:
        with engine.begin() as connection:
            policy = active(connection)
            rows = connection.execute(
                text("""SELECT study, nodes FROM study
                        WHERE policy_version <> :v AND merged_into IS NULL AND study > :last
                        ORDER BY study LIMIT :n"""),
                {"v": policy.version, "n": chunk, "last": last},
            ).all()
            if rows:
                project(
                    connection,
                    sorted({n for row in rows for n in row.nodes}),
                    policy=policy,
                    identities=identities,
                )
                done, last = done + len(rows), rows[-1].study
        if not rows:
            return done
