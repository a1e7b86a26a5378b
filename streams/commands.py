"""Commands of the street: the gateway, the topics, the key ring, and what is parked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from streams.process import fail, need, run
from streams.settings import StreamsSettings

if TYPE_CHECKING:
    from streams.api import Api

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
    import uvloop

    from streams.gateway import main

    run(settings, main, uvloop.new_event_loop)


@app.command("keys")
def keys(path: Annotated[Path, typer.Argument(help="file to write; it must not exist")]) -> None:
    """Make a key ring: it seals identities and makes the pseudonyms that topics are keyed by. Keep
    a copy: without it nothing opens.
    """
    from streams.identity.seal import new_ring, write_ring

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
        settings = StreamsSettings()
        need(settings, "kafka")
        make_topics(settings, replicas=replicas)
    days = RETENTION_MS // 86_400_000
    for topic in ALL:
        typer.echo(f"{topic.name:10} {topic.partitions} partitions, {days} days: {topic.why}")


@parked_app.command("list")
def parked_list(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """List what is parked: where it came from and why. Never its content."""
    from streams.kafka.parked import entries

    settings = StreamsSettings()
    need(settings, "kafka")
    found = [entry.public() for entry in entries(settings)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for item in found:
        typer.echo(
            f"{item['id']:>10}  {item['parked_at']}  {item['stage']:9} {item['topic']:9} "
            f"{item['reason']} {item['where']} {item['sender']}".rstrip()
        )
    typer.echo(f"{len(found)} parked", err=True)


Ready = Annotated[
    Path | None, typer.Option(help="ready file of a demo; else VIGIE_API_URL and VIGIE_API_TOKEN")
]


@parked_app.command("show")
def parked_show(
    name: Annotated[str, typer.Argument(metavar="ID", help="as `parked list` shows it")],
    content: Annotated[
        bool, typer.Option("--open", help="what was sent, in clear: for leads, and audited")
    ] = False,
    reason: Annotated[str, typer.Option(help="why it is opened")] = "",
    ready: Ready = None,
) -> None:
    """Show why something is parked: who sent it, which field, and the shape of an HL7 message:
    segments and codes, letters as x and digits as 9 where they may be a patient's.
    """
    from streams.api import Api

    if content and not reason:
        raise typer.BadParameter("--open needs --reason")
    api = Api.found(StreamsSettings(), ready)
    if api is None:
        fail("the list's API shows it: name it with VIGIE_API_URL and VIGIE_API_TOKEN, or --ready")
    path = f"/api/v1/parked/{quote(name, safe='')}"
    try:
        found = (
            api.ask("POST", f"{path}/open", {"reason": reason}) if content else api.ask("GET", path)
        )
    except OSError as error:
        fail(f"{name}: {error}")
    shape = found.pop("shape", None) or str(found.pop("content", "")).splitlines()
    for key, value in found.items():
        typer.echo(f"{key}: {value}")
    for line in shape:
        typer.echo(f"  {line}")


@app.command("send")
def send(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    to: Annotated[str, typer.Option(help="host:port for HL7; default: the MLLP door of here")] = "",
    images_to: Annotated[
        str, typer.Option(help="AE@host:port for DICOM files; default: the DICOM door of here")
    ] = "",
    calling: Annotated[
        str, typer.Option(help="the AE title that sends DICOM files")
    ] = "VIGIE_SEND",
    ready: Ready = None,
) -> None:
    """Send HL7 files over MLLP and DICOM files by C-STORE; show each answer and, where the list's
    API is known, the rows that came of it.
    """
    from streams.api import Api, read_ready
    from streams.dicom.sending import is_dicom

    settings = StreamsSettings()
    known = read_ready(ready) if ready else {}
    api = Api.found(settings, ready)
    images = [file for file in files if is_dicom(file)]
    where = to or known.get("mllp") or f"127.0.0.1:{settings.mllp_port}"
    refused = _send_messages([file for file in files if file not in images], where, api)
    if images:
        door = known.get("dicom", {"address": f"127.0.0.1:{settings.dicom_port}"})
        here = f"{door.get('ae_title', settings.ae_title)}@{door['address']}"
        refused += _send_images(images, images_to or here, calling, api)
    if refused:
        fail(f"not taken: {refused}; why: vigie senders, vigie parked list, vigie parked show ID")


def _send_messages(files: list[Path], where: str, api: Api | None) -> int:
    """How many were refused."""
    from streams.hl7.sending import accession_of, messages_in
    from streams.hl7.sending import send as send_all

    refused, messages = 0, list[bytes]()
    for file in files:
        found = messages_in(file)
        if not found:
            fail(f"{file}: no message is in there, and nothing was sent")
        messages += found
    try:
        host, port = _place(where)
        for message, answer in send_all(messages, host, port) if messages else ():
            refused += not answer.positive
            typer.echo(f"{answer.code or '--'} {answer.control_id} {answer.text}".rstrip())
            if api and answer.positive and (accession := accession_of(message)):
                _show(api.rows_of(accession=accession))
    except (OSError, ValueError) as error:
        fail(f"{where}: {error}: name the door with --to host:port")
    return refused


def _send_images(files: list[Path], where: str, calling: str, api: Api | None) -> int:
    """How many were refused."""
    from streams.dicom.sending import send as send_all

    called, _, address = where.rpartition("@")
    refused, studies = 0, dict[str, None]()
    try:
        host, port = _place(address)
        for stored in send_all(files, host, port, called, calling):
            refused += not stored.positive
            code = "----" if stored.status is None else f"{stored.status:04X}"
            typer.echo(f"{code} {stored.file} {stored.says}".rstrip())
            if stored.positive:
                studies[stored.study_uid] = None
        for study in studies if api else ():
            _show(api.rows_of(study_uid=study) if api else [])
    except (OSError, ValueError) as error:
        fail(f"{where}: {error}: name the door with --images-to AE@host:port, --calling who sends")
    return refused


def _place(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal()):
        raise ValueError("no host:port")
    return host, int(port)


def _show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        typer.echo(f"   {row}")


@parked_app.command("replay")
def parked_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="ids as `parked list` shows them")] = None,
    reason: Annotated[str, typer.Option(help="all that were parked for this reason")] = "",
) -> None:
    """Send parked events again, after their cause was mended. Twice is harmless."""
    from streams.errors import VigieError
    from streams.hl7.replay import replay
    from streams.identity.seal import read_ring
    from streams.kafka.parked import entries
    from streams.kafka.produce import Publisher
    from streams.senders.site import load_site

    if not ids and not reason:
        raise typer.BadParameter("name ids, or --reason")
    settings = StreamsSettings()
    need(settings, "kafka")
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
