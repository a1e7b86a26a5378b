"""The list's commands: ``vigie worklist | migrate | policy | audit | rebuild``."""

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
from worklist.sql import audit, history, policy_store
from worklist.sql.database import make_engine, migrate, translated
from worklist.sql.writing import positions
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank

app = typer.Typer(no_args_is_help=True)
policy_app = typer.Typer(no_args_is_help=True, help="The rules that order the list.")
rebuild_app = typer.Typer(no_args_is_help=True, help="What is known of a rebuild of the topics.")
audit_app = typer.Typer(no_args_is_help=True, help="The record of every decision.")


@app.command("worklist")
def worklist_command() -> None:
    """Run the list's agent: events become rows."""
    settings = WorklistSettings()
    need(settings, "kafka", "database")
    from worklist.agent import main

    run(settings, lambda process: main(process, settings))


@contextmanager
def _database(url: str = "", statement_s: float = 3600) -> Iterator[Engine]:
    """The site's database. Raises Unavailable when it does not answer or lacks our schema."""
    settings = WorklistSettings()
    if not url:
        need(settings, "database")
    engine = make_engine(url or settings.database.get_secret_value(), statement_s=statement_s)
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
    url = settings.database_owner.get_secret_value() or settings.database.get_secret_value()
    with _database(url) as engine:
        migrate(url)
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
    settings = WorklistSettings()
    opener = Opener(read_ring(settings.keys), read_ring(settings.act_keys, "VIGIE_ACT_KEYS"))
    with _database() as engine:
        with engine.begin() as connection:
            policy_store.activate(connection, policy, actor=actor, now=datetime.now(UTC))
        ranked = rerank(engine, opener)
    typer.echo(f"{policy.version}: {ranked} studies ranked anew")


@rebuild_app.command("announce")
def announce(
    reason: Annotated[str, typer.Option(help="why: it is kept in the audit")],
    actor: Annotated[str, typer.Option(help="who says so")] = "operator",
) -> None:
    """Say that topics are made anew or were: gaps until now, and of the next day, are noted and no
    alarm.
    """
    with _database() as engine, engine.begin() as connection:
        positions.announce(connection, actor, reason)


@audit_app.command("verify")
def verify(
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="PLACE:SEAL that the log told; again for more. Shows a cut-off end"),
    ] = None,
) -> None:
    """Walk the chain of seals; exit 1 when a row was changed, taken away or slipped in."""
    settings = WorklistSettings()
    try:
        anchors = [audit.Anchor.parse(said) for said in anchor or []]
    except ValueError as error:
        fail(str(error))
    key = audit.chain_key(read_ring(settings.audit_keys, "VIGIE_AUDIT_KEYS"))
    with _database(_sealer(settings)) as engine, engine.connect() as connection:
        verdict = audit.verify(connection, key, anchors)
    typer.echo(json.dumps(asdict(verdict)))
    if not verdict.intact:
        fail(
            "the audit is not as it was written: keep a copy of the database, see runbooks/audit.md"
        )


@audit_app.command("show")
def show_at(
    at: Annotated[datetime, typer.Option(help="the moment, UTC unless it says otherwise")],
) -> None:
    """The list as it stood at a past moment, in reading order, and what had been closed in the day
    before: one JSON object a line.
    """
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    with _database() as engine, engine.connect() as connection:
        for placed in history.list_at(connection, moment):
            typer.echo(json.dumps(asdict(placed), default=str))


def _sealer(settings: WorklistSettings) -> str:
    return (settings.database_sealer.get_secret_value()) or settings.database.get_secret_value()


app.add_typer(policy_app, name="policy")
app.add_typer(audit_app, name="audit")
app.add_typer(rebuild_app, name="rebuild")
