"""Commands of the street: the gateway, and what is parked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from streams.errors import VigieError
from streams.logs import start_logs
from streams.settings import StreamsSettings

app = typer.Typer(no_args_is_help=True)
parked_app = typer.Typer(
    no_args_is_help=True, help="What could not be processed: list it, send it again."
)
app.add_typer(parked_app, name="parked")


@app.command("gateway")
def gateway() -> None:
    """Run the doors: HL7 over MLLP, DICOM. They answer yes only for what is durable."""
    from streams.gateway import run

    settings = StreamsSettings()
    start_logs(settings)
    try:
        asyncio.run(run(settings))
    except (VigieError, ValueError, OSError) as error:
        raise SystemExit(f"vigie gateway: {error}") from None


@app.command("keys")
def keys(path: Annotated[Path, typer.Argument(help="file to write; it must not exist")]) -> None:
    """Make a key ring: it seals identities and makes the pseudonyms that topics are keyed by. Keep
    a copy: without it nothing opens.
    """
    from streams.seal import new_ring, write_ring

    if path.exists():
        raise SystemExit(f"vigie keys: {path} is there already; a ring is never overwritten")
    try:
        write_ring(new_ring(), path)
    except OSError as error:
        raise SystemExit(f"vigie keys: {error}") from None


@app.command("topics")
def topics(
    create: Annotated[
        bool,
        typer.Option("--create", help="make those that the broker of VIGIE_KAFKA does not have"),
    ] = False,
    replicas: Annotated[
        int, typer.Option(help="copies of each partition, with --create", min=1)
    ] = 1,
) -> None:
    """List the topics: partitions, retention, what each carries; or make them."""
    from streams.kafka.admin import make_topics
    from streams.kafka.topics import ALL, RETENTION_MS

    if create:
        try:
            make_topics(StreamsSettings(), replicas=replicas)
        except VigieError as error:
            raise SystemExit(
                f"vigie topics: {error}; is the broker of VIGIE_KAFKA running?"
            ) from None

    for topic in ALL:
        typer.echo(
            f"{topic.name:10} {topic.partitions} partitions, {RETENTION_MS // 86_400_000} days: {topic.why}"
        )


@parked_app.command("list")
def parked_list(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """List what is parked: where it came from and why. Never its content."""
    from streams.kafka.parked import entries

    try:
        found = [entry.public() for entry in entries(StreamsSettings())]
    except VigieError as error:
        raise SystemExit(
            f"vigie parked list: {error}; is the broker of VIGIE_KAFKA running?"
        ) from None
    if as_json:
        typer.echo(json.dumps(found))
        return
    for item in found:
        typer.echo(
            f"{item['id']:>10}  {item['parked_at']}  {item['stage']:9} {item['topic']:9} {item['reason']}"
        )
    typer.echo(f"{len(found)} parked", err=True)


@parked_app.command("replay")
def parked_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="ids as `parked list` shows them")] = None,
    reason: Annotated[str, typer.Option(help="all that were parked for this reason")] = "",
) -> None:
    """Send parked events again, after their cause was mended. Twice is harmless."""
    from streams.kafka.parked import entries, replay
    from streams.kafka.produce import Publisher
    from streams.seal import read_ring
    from streams.site import load_site

    if not ids and not reason:
        raise typer.BadParameter("name ids, or --reason")
    settings = StreamsSettings()
    failed = done = 0
    try:
        site, ring, publisher = (
            load_site(settings.site),
            read_ring(settings.keys),
            Publisher(settings),
        )
        for entry in list(entries(settings)):
            if entry.id not in (ids or ()) and entry.parked.reason.value != reason:
                continue
            try:
                replay(entry, site, ring, publisher)
                done += 1
            except VigieError as error:
                failed += 1
                typer.echo(f"{entry.id}: {error}", err=True)
        publisher.close()
    except (VigieError, ValueError, OSError) as error:
        raise SystemExit(f"vigie parked replay: {error}") from None
    typer.echo(f"{done} sent again, {failed} failed", err=True)
    if failed or not done:
        raise SystemExit(1)
