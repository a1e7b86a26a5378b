"""The list's commands: ``vigie worklist | migrate | senders | policy | audit | …``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Engine

from streams.identity.seal import read_ring
from streams.process import fail, need, reading_site, run
from worklist.order.going_live import check_live
from worklist.order.policy import Policy, load, parse
from worklist.settings import WorklistSettings
from worklist.sql import audit, history, policy_store
from worklist.sql.asking import not_imaging, workbench
from worklist.sql.database import make_engine, migrate, translated
from worklist.sql.senders import asking
from worklist.sql.senders.asking import SenderView
from worklist.sql.writing import positions
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank

app = typer.Typer(no_args_is_help=True)
policy_app = typer.Typer(no_args_is_help=True, help="The rules that order the list.")
rebuild_app = typer.Typer(no_args_is_help=True, help="What is known of a rebuild of the topics.")
audit_app = typer.Typer(no_args_is_help=True, help="Every decision and act: the audit.")


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
                policy = _grounded(_site_policy(None))
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


def _grounded(policy: Policy) -> Policy:
    """The policy, if each of its live packages has a ground."""
    with reading_site(settings := WorklistSettings()):
        check_live(settings.site, policy.live)
    return policy


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
    policy = _grounded(_site_policy(file))
    opener = _opener()
    with _database() as engine:
        with engine.begin() as connection:
            policy_store.activate(connection, policy, actor=actor, now=datetime.now(UTC))
        ranked = rerank(engine, opener)
    typer.echo(f"{policy.version}: {ranked} studies ranked anew")


#: Of a row, without whom it is about.
_OFF_LIST = ("study", "sender", "accessions", "procedure", "order_class", "received_at")
_SHOWN = ("study", "study_uid", "accessions", "state", "marks", "modality", "received_at")


@app.command("workbench")
def workbench_command(
    kind: Annotated[
        str, typer.Argument(help=f"of {', '.join(workbench.SAYS)}; without: how many of each")
    ] = "",
    limit: Annotated[int, typer.Option(help="so many rows at most", min=1, max=1000)] = 100,
) -> None:
    """What does not fit together: one JSON object a line, without names. API and page mend it."""
    if kind and kind not in workbench.SAYS:
        raise typer.BadParameter(f"one of {', '.join(workbench.SAYS)}")
    with _database() as engine, engine.connect() as connection:
        rows: Iterable[Mapping[str, Any]]
        if not kind:
            counts = workbench.counted(connection, _opener())
            rows = ({"kind": name, "count": count} for name, count in counts.items())
        elif kind == workbench.OFF_LIST:
            found = not_imaging.listed(connection, _opener())[:limit]
            rows = ({name: row[name] for name in _OFF_LIST} for row in found)
        else:
            items = workbench.listed(connection, kind, limit=limit).items
            rows = ({name: row[name] for name in _SHOWN} for row in items)
        for row in rows:
            typer.echo(json.dumps(row, default=str))


def _opener() -> Opener:
    settings = WorklistSettings()
    return Opener(read_ring(settings.keys), read_ring(settings.act_keys, "VIGIE_ACT_KEYS"))


@app.command("senders")
def senders_command(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """Show each sender at each door: last heard, rate, answers, refusals by reason with the ids of
    what was kept of them, silence.
    """
    with _database() as engine, engine.begin() as connection:
        found = asking.senders(connection, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps([view.public() for view in found], default=datetime.isoformat))
        return
    for view in found:
        last = f"{view.last_at:%Y-%m-%d %H:%M:%S}" if view.last_at else "never"
        answers = " ".join(f"{code} {count}" for code, count in sorted(view.answers.items()))
        typer.echo(
            f"{view.sender:16} {view.door:5} {last:19} {view.per_minute:7.1f}/min  "
            f"{answers or '-':20} {'SILENT ' if view.silent else ''}{_refusals(view)}".rstrip()
        )


def _refusals(view: SenderView) -> str:
    most = sorted(view.refusals.items(), key=lambda told: -told[1])
    kept = {why: [one.id for one in view.parked if one.reason == why] for why, _ in most}
    return ", ".join(f"{why} {count} {' '.join(kept[why][:3])}".rstrip() for why, count in most)


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
    at: Annotated[
        datetime,
        typer.Option(help="the moment, UTC unless it says otherwise: 2026-03-14T09:30:00"),
    ],
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
