"""Commands of the street: the gateway, the topics, the key ring, and what is parked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from streams.process import fail, need, run
from streams.settings import StreamsSettings

app = typer.Typer(no_args_is_help=True)
parked_app = typer.Typer(
    no_args_is_help=True, help="What could not be processed: list it, send it again."
)
app.add_typer(parked_app, name="parked")


@app.command("gateway")
def gateway() -> None:
    """Run the doors: HL7 over MLLP, DICOM. They answer yes only for what is durable."""
    settings = StreamsSettings()
    need(settings, "kafka")
    from streams.gateway import main

    run(settings, main)


@app.command("keys")
def keys(path: Annotated[Path, typer.Argument(help="file to write; it must not exist")]) -> None:
    """Make a key ring: it seals identities and makes the pseudonyms that topics are keyed by. Keep
    a copy: without it nothing opens.
    """
    from streams.seal import new_ring, write_ring

    if path.exists():
        fail(f"{path} is there already, and a ring is never overwritten: name another file")
    write_ring(new_ring(), path)


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
        make_topics(StreamsSettings(), replicas=replicas)
    days = RETENTION_MS // 86_400_000
    for topic in ALL:
        typer.echo(f"{topic.name:10} {topic.partitions} partitions, {days} days: {topic.why}")


@parked_app.command("list")
def parked_list(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """List what is parked: where it came from and why. Never its content."""
    from streams.kafka.parked import entries

    found = [entry.public() for entry in entries(StreamsSettings())]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for item in found:
        typer.echo(
            f"{item['id']:>10}  {item['parked_at']}  {item['stage']:9} {item['topic']:9} "
            f"{item['reason']}"
        )
    typer.echo(f"{len(found)} parked", err=True)


@parked_app.command("replay")
def parked_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="ids as `parked list` shows them")] = None,
    reason: Annotated[str, typer.Option(help="all that were parked for this reason")] = "",
) -> None:
    """Send parked events again, after their cause was mended. Twice is harmless."""
    from streams.errors import VigieError
    from streams.kafka.parked import entries, replay
    from streams.kafka.produce import Publisher
    from streams.seal import read_ring
    from streams.site import load_site

    if not ids and not reason:
        raise typer.BadParameter("name ids, or --reason")
    settings = StreamsSettings()
    site, ring = load_site(settings.site), read_ring(settings.keys)
    publisher = Publisher(settings)
    sent = failed = 0
    for entry in list(entries(settings)):
        if entry.id not in (ids or ()) and entry.parked.reason.value != reason:
            continue
        try:
            replay(entry, site, ring, publisher)
            sent += 1
        except VigieError as error:
            failed += 1
            typer.echo(f"{entry.id}: {error}", err=True)
    publisher.close()
    typer.echo(f"{sent} sent again, {failed} failed", err=True)
    if failed:
        fail("some failed and stay parked: mend what is named above, and replay again")
    if not sent:
        fail("nothing parked matches: vigie parked list shows what is there")
