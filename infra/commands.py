"""The roof's commands: ``vigie demo | check | bench | kafka``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.logs import tell
from streams.process import WRONG_USAGE, fail

app = typer.Typer(no_args_is_help=True)


@app.command("demo")
def demo(
    empty: Annotated[bool, typer.Option("--empty", help="all parts, no simulated traffic")] = False,
    kafka: Annotated[
        str, typer.Option(help="a broker's host:port; default: the embedded one")
    ] = "",
    database: Annotated[str, typer.Option(help="a PostgreSQL URL; default: the embedded one")] = "",
    ready: Annotated[
        Path | None, typer.Option(help="file to write the addresses to, once everything serves")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="folder of real images to play", exists=True, file_okay=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns file and urgent", exists=True, dir_okay=False),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="simulated readers; ends with a report")
    ] = False,
    seconds: Annotated[float, typer.Option("--for", help="wall seconds of traffic", min=1)] = 120.0,
    speed: Annotated[float, typer.Option(help="simulated seconds in a second", min=0.1)] = 60.0,
    seed: Annotated[int, typer.Option(help="which day", min=0)] = 1,
    report: Annotated[Path | None, typer.Option(help="file for the report, JSON")] = None,
) -> None:
    """A department's day, in one command."""
    from infra.demo.run import Options, run
    from infra.embedded import StartError

    if labels and not images:
        fail("--labels needs --images: name the folder that the CSV is about", WRONG_USAGE)
    for option, file in (("--ready", ready), ("--report", report)):
        if file and not file.parent.is_dir():
            fail(f"{option}: {file.parent}: no such folder: make it, or name another", WRONG_USAGE)
    options = Options(
        empty, kafka, database, ready, images, labels, headless, seconds, speed, seed, report
    )
    try:
        code = run(options)
    except (StartError, ValueError) as error:
        fail(str(error))
    raise typer.Exit(code)


@app.command("check")
def check(
    site: Annotated[
        Path | None, typer.Argument(help="the site's folder; default: VIGIE_SITE")
    ] = None,
) -> None:
    """Whether a site's folder is sound: one line for each mistake."""
    from infra.check import check_site
    from streams.settings import StreamsSettings

    mistakes = check_site(site or StreamsSettings().site)
    for mistake in mistakes:
        tell(mistake)
    if mistakes:
        raise typer.Exit(1)
    typer.echo("the site is sound")


@app.command("kafka")
def kafka(
    port: Annotated[
        int, typer.Option(help="of loopback; 0 takes a free one", min=0, max=65535)
    ] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="where it keeps its data; default: a temporary one, gone at the end"),
    ] = None,
) -> None:
    """A real Apache Kafka on loopback until ^C; its address goes to stdout. The first time Maven
    fetches it.
    """
    from infra.embedded import StartError
    from infra.kafka import serve

    try:
        serve(port, folder, lambda address: typer.echo(address))
    except StartError as error:
        fail(str(error))


@app.command("bench")
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="which; default: all", metavar="[NAME]...")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="file for the results; - is stdout")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="small and few: whether it runs, not how fast")
    ] = False,
) -> None:
    """Measures stages beside the bare libraries, in turn, within the same minute."""
    import orjson

    from infra.bench import catalogue

    wanted = list(dict.fromkeys(names or catalogue.NAMES))
    if unknown := [name for name in wanted if name not in catalogue.NAMES]:
        there = ", ".join(catalogue.NAMES)
        fail(f"no such bench: {', '.join(unknown)} (there are {there})", WRONG_USAGE)
    results, failed = [], []
    for name in wanted:
        try:
            measured = catalogue.run(name, quick=quick)
        except (LookupError, OSError, RuntimeError, ImportError) as error:
            failed.append(f"{name}: {error}")
            continue
        results += [result.as_dict() for result in measured]
        if json != Path("-"):
            for result in measured:
                typer.echo(result.as_line())
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    if json == Path("-"):
        typer.echo(text, nl=False)
    elif json:
        json.write_text(text)
    if failed:
        fail("; ".join(failed))
