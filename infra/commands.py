"""The roof's commands: ``vigie demo | check | bench | kafka``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


def _fail(text: str, code: int = 1) -> typer.Exit:
    sys.stderr.write(text.replace("\n", " ") + "\n")
    return typer.Exit(code)


@app.command("demo")
def demo(
    empty: Annotated[bool, typer.Option("--empty", help="all parts, no simulated traffic")] = False,
    kafka: Annotated[str, typer.Option(help="a broker's host:port; default: the embedded one")] = "",
    database: Annotated[str, typer.Option(help="a PostgreSQL URL; default: the embedded one")] = "",
    ready: Annotated[Path | None, typer.Option(help="file to write the addresses to, once everything serves")] = None,
    images: Annotated[Path | None, typer.Option(help="folder of real images to play", exists=True, file_okay=False)] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV with the columns file and urgent", exists=True, dir_okay=False)] = None,
    headless: Annotated[bool, typer.Option("--headless", help="simulated readers; ends with a report")] = False,
    seconds: Annotated[float, typer.Option("--for", help="wall seconds of traffic", min=1)] = 120.0,
    speed: Annotated[float, typer.Option(help="simulated seconds in a second", min=0.1)] = 60.0,
    seed: Annotated[int, typer.Option(help="which day", min=0)] = 1,
    report: Annotated[Path | None, typer.Option(help="file for the report, JSON")] = None,
) -> None:
    """A department's day, in one command."""
    from infra.demo.run import Options, run
    from infra.embedded import StartError

    if labels and not images:
        raise _fail("--labels needs --images", 2)
    options = Options(empty, kafka, database, ready, images, labels, headless, seconds, speed, seed, report)
    try:
        code = run(options)
    except (StartError, ValueError) as error:
        raise _fail(str(error)) from None
    raise typer.Exit(code)


@app.command("check")
def check(site: Annotated[Path | None, typer.Argument(help="the site's folder; default: VIGIE_SITE")] = None) -> None:
    """Whether a site's folder is sound: one line for each mistake."""
    from infra.check import check_site
    from streams.settings import StreamsSettings

    mistakes = check_site(site or StreamsSettings().site)
    for mistake in mistakes:
        sys.stderr.write(mistake + "\n")
    if mistakes:
        raise typer.Exit(1)
    typer.echo("the site is sound")


@app.command("kafka")
def kafka(
    port: Annotated[int, typer.Option(help="of loopback; 0 takes a free one", min=0, max=65535)] = 0,
    folder: Annotated[Path | None, typer.Option(help="where it keeps its data; default: a temporary one, gone at the end")] = None,
) -> None:
    """A real Apache Kafka on loopback until ^C; its address goes to stdout. The first time Maven fetches it."""
    from infra.embedded import StartError
    from infra.kafka import serve

    try:
        serve(port, folder, lambda address: typer.echo(address))
    except StartError as error:
        raise _fail(str(error)) from None
