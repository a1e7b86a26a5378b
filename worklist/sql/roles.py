"""Who may do what in the database: the audit is append-only by privilege, not by good manners."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, text

APP, SEALER = "vigie_app", "vigie_sealer"

#: What only a superuser can do, once: the roles themselves, and what the server's log leaves out.
SETUP = files("worklist.sql").joinpath("roles.sql").read_text()

#: Tables of which the app has less than all four rights. The identity, transaction and time of an
#: audit row are the database's own word, so nobody writes one into the past.
_LESS = {
    "audit": "GRANT SELECT, INSERT (act, item, actor, reason, detail) ON audit TO vigie_app",
    "audit_seal": "GRANT SELECT ON audit_seal TO vigie_app",
    "alembic_version": "GRANT SELECT ON alembic_version TO vigie_app",
}
_SEALER = (
    "GRANT SELECT ON audit, policy_version TO vigie_sealer",
    "GRANT SELECT, INSERT ON audit_seal TO vigie_sealer",
)
_TABLES = text("""SELECT c.oid::regclass::text FROM pg_class c
                  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                  AND NOT c.relispartition ORDER BY 1""")
_ROUTINES = "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO vigie_app"


def grant(connection: Connection) -> None:
    """Gives each role that is there what it may, and nothing else; as the tables' owner.

    A database with one user for all, as a laptop's, has no roles and gets no grants.
    """
    there = set(
        connection.scalars(
            text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"),
            {"names": [APP, SEALER]},
        )
    )
    tables = connection.scalars(_TABLES).all()
    for role in sorted(there):
        connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    if APP in there:
        for table in tables:
            rights = _LESS.get(
                table, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO vigie_app"
            )
            connection.execute(text(rights))
        connection.execute(text(_ROUTINES))
    if SEALER in there:
        for rights in _SEALER:
            connection.execute(text(rights))


def weaknesses(connection: Connection) -> list[str]:
    """What the connected user could do to the audit and should not; empty when all is well, and
    where one user does all.
    """
    found = connection.execute(
        text("""SELECT held, verb FROM unnest(ARRAY['audit', 'audit_seal']) held,
                    unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) verb
                WHERE has_table_privilege(CAST(held AS text), CAST(verb AS text))
                AND EXISTS (SELECT FROM pg_roles WHERE rolname = :app) ORDER BY 1, 2"""),
        {"app": APP},
    ).all()
    return [f"the database's user may {row.verb} {row.held}" for row in found]
