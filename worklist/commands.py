"""The list's commands: ``vigie worklist | migrate | policy | audit``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection, Engine

from streams.process import fail, need, reading_site, run
from streams.seal import read_ring
from worklist.order.policy import Policy, load, parse
from worklist.settings import WorklistSettings
from worklist.sql import audit, policy_store
from worklist.sql.database import make_engine, migrate, translated
from worklist.sql.project import Identities

app = typer.Typer(no_args_is_help=True)
policy_app = typer.Typer(no_args_is_help=True, help="The rules that order the list.")
audit_app = typer.Typer(no_args_is_help=True, help="The record of every decision.")


@app.command("worklist")
def worklist_command() -> None:
    """Run the list's agent: events become rows."""
    settings = WorklistSettings()
    need(settings, "kafka", "database")
    from worklist.agent import main

    run(settings, lambda process: main(process, settings))


@contextmanager
def _database() -> Iterator[Engine]:
    """The site's database. Raises Unavailable when it does not answer or lacks our schema."""
    settings = WorklistSettings()
    need(settings, "database")
    engine = make_engine(settings.database.get_secret_value())
    try:
        with translated():
            yield engine
    finally:
        engine.dispose()


def _active(connection: Connection) -> Policy:
    try:
        return policy_store.active(connection)
    except LookupError:
        fail("no policy ranks yet: vigie migrate activates the site's")


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to this release's schema, and activate the site's policy if none is
    active.
    """
    settings = WorklistSettings()
    with _database() as engine:
        migrate(settings.database.get_secret_value())
        with engine.begin() as connection:
            try:
                policy_store.active(connection)
            except LookupError:
                with reading_site(settings):
                    policy = load(settings.site)
                policy_store.activate(connection, policy, actor="migrate", now=datetime.now(UTC))


def _site_policy(file: Path | None) -> Policy:
    if file is None:
        settings = WorklistSettings()
        with reading_site(settings):
            return load(settings.site)
    try:
        return parse(file.read_text())
    except ValueError as error:
        fail(f"{file}: {error}")


@policy_app.command("show")
def show() -> None:
    """The policy that ranks now, as JSON."""
    with _database() as engine, engine.connect() as connection:
        policy = _active(connection)
    typer.echo(json.dumps({"version": policy.version, **policy.model_dump()}, indent=2))


File = Annotated[Path | None, typer.Argument(help="a policy file; default: the site's policy.toml")]


@policy_app.command("check")
def check(file: File = None) -> None:
    """Whether a policy file is sound; its version."""
    typer.echo(_site_policy(file).version)


@policy_app.command("diff")
def diff(file: File = None) -> None:
    """What activating a file would change, one field a line."""
    new = _site_policy(file).model_dump()
    with _database() as engine, engine.connect() as connection:
        old = _active(connection).model_dump()
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key):
            typer.echo(f"{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}")


@policy_app.command("activate")
def activate(
    file: File = None, actor: Annotated[str, typer.Option(help="who says so")] = "operator"
) -> None:
    """Make a policy file the one that ranks, and rank all rows anew."""
    policy = _site_policy(file)
    ring = read_ring(WorklistSettings().keys)
    with _database() as engine:
        with engine.begin() as connection:
            policy_store.activate(connection, policy, actor=actor, now=datetime.now(UTC))
        ranked = policy_store.rerank(engine, Identities(ring))
    typer.echo(f"{policy.version}: {ranked} studies ranked anew")


@audit_app.command("verify")
def verify() -> None:
    """Walk the chain of seals; exit 1 when a row was changed."""
    with _database() as engine, engine.connect() as connection:
        verdict = audit.verify(connection)
    counts = {"sealed": verdict.sealed, "unsealed": verdict.unsealed, "broken": verdict.broken}
    typer.echo(json.dumps(counts))
    if verdict.broken is not None:
        fail(
            f"the audit chain is broken at row {verdict.broken}: keep a copy of the database and "
            "find who changed it"
        )


@audit_app.command("list")
def list_at(
    at: Annotated[datetime, typer.Option(help="the moment, UTC unless it says otherwise")],
) -> None:
    """The list as it stood at a past moment, in reading order, one JSON object a line."""
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    with _database() as engine, engine.connect() as connection:
        for placed in audit.list_at(connection, moment):
            typer.echo(json.dumps(asdict(placed), default=str))


app.add_typer(policy_app, name="policy")
app.add_typer(audit_app, name="audit")
