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
        raise _fail("--labels needs --images", 2)
    options = Options(
        empty, kafka, database, ready, images, labels, headless, seconds, speed, seed, report
    )
    try:
        code = run(options)
    except (StartError, ValueError) as error:
        raise _fail(str(error)) from None
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
        sys.stderr.write(mistake + "\n")
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
        raise _fail(str(error)) from None


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
    """Measures stages beside the bare libraries, by turns in the same minute."""
    import orjson

    from infra.bench import catalogue
    from streams.logs import log_to_stderr

    log_to_stderr()
    wanted = list(dict.fromkeys(names or catalogue.NAMES))
    if unknown := [name for name in wanted if name not in catalogue.NAMES]:
        raise _fail(
            f"no such bench: {', '.join(unknown)} (there are {', '.join(catalogue.NAMES)})", 2
        )
    results, failed = [], []
    for name in wanted:
        try:
            measured = catalogue.run(name, quick=quick)
        except (LookupError, OSError, RuntimeError, ImportError) as error:
            failed.append(f"{name}: {error}")
            continue
        results += [result.as_dict() for result in measured]
        if json != Path("-"):
            for one in measured:
                typer.echo(
                    f"{one.name:10} {one.ratio:7.3g} × the reference  ({one.ours:g} beside {one.reference:g} {one.unit}) {one.what}"
                )
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    if json == Path("-"):
        typer.echo(text, nl=False)
    elif json:
        json.write_text(text)
    if failed:
        raise _fail("; ".join(failed))
