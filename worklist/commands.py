"""The list's commands: ``vigie worklist | web | migrate | policy | audit``."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from streams.logs import start_logs
from streams.seal import read_ring
from worklist.order.policy import Policy, load, parse
from worklist.settings import WorklistSettings
from worklist.sql import audit, history, policy_store
from worklist.sql.database import make_engine, migrate
from worklist.sql.project import Identities

app = typer.Typer(no_args_is_help=True)
policy_app = typer.Typer(no_args_is_help=True, help="The rules that order the list.")
audit_app = typer.Typer(no_args_is_help=True, help="The record of every decision.")


@app.command("worklist")
def worklist_command() -> None:
    """Run the list's agent: events become rows."""
    from worklist.agent import run

    settings = WorklistSettings()
    start_logs(settings)
    asyncio.run(run(settings))


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to this release's schema, and activate the site's policy if none is
    active.
    """
    settings = WorklistSettings()
    url = settings.database_owner.get_secret_value() or settings.database.get_secret_value()
    migrate(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        try:
            policy_store.active(connection)
        except LookupError:
            policy_store.activate(
                connection, load(settings.site), actor="migrate", now=datetime.now(UTC)
            )
    engine.dispose()


def _fail(message: str) -> typer.Exit:
    print(message, file=sys.stderr)  # noqa: T201
    return typer.Exit(1)


def _site_policy(file: Path | None) -> Policy:
    try:
        return parse(file.read_text()) if file else load(WorklistSettings().site)
    except (ValueError, OSError) as error:
        raise _fail(f"policy: {error}") from None


@policy_app.command("show")
def show() -> None:
    """The policy that ranks now, as JSON."""
    with make_engine(WorklistSettings().database.get_secret_value()).connect() as connection:
        policy = policy_store.active(connection)
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
    with make_engine(WorklistSettings().database.get_secret_value()).connect() as connection:
        old = policy_store.active(connection).model_dump()
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key):
            typer.echo(f"{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}")


@policy_app.command("activate")
def activate(
    file: File = None, actor: Annotated[str, typer.Option(help="who says so")] = "operator"
) -> None:
    """Make a policy file the one that ranks, and rank all rows anew."""
    settings = WorklistSettings()
    policy = _site_policy(file)
    engine = make_engine(settings.database.get_secret_value())
    with engine.begin() as connection:
        policy_store.activate(connection, policy, actor=actor, now=datetime.now(UTC))
    ranked = policy_store.rerank(engine, Identities(read_ring(settings.keys)))
    typer.echo(f"{policy.version}: {ranked} studies ranked anew")


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
        key = audit.chain_key(read_ring(settings.audit_keys))
        anchors = [audit.Anchor.parse(said) for said in anchor or []]
    except (OSError, ValueError) as error:
        raise _fail(f"audit: {error}") from None
    with make_engine(_sealer(settings), statement_s=3600).connect() as connection:
        verdict = audit.verify(connection, key, anchors)
    typer.echo(json.dumps(asdict(verdict)))
    if not verdict.intact:
        raise _fail(
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
    url = WorklistSettings().database.get_secret_value()
    with make_engine(url, statement_s=3600).connect() as connection:
        for placed in history.list_at(connection, moment):
            typer.echo(json.dumps(asdict(placed), default=str))


def _sealer(settings: WorklistSettings) -> str:
    return (settings.database_sealer.get_secret_value()) or settings.database.get_secret_value()


app.add_typer(policy_app, name="policy")
app.add_typer(audit_app, name="audit")
