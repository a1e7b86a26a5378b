"""``vigie simulate``: a scenario, QuCAD's scenarios, or a site's own history."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

_COMPARE = "a policy to compare; several: one after the other, or with commas"


class WithDefault(typer.core.TyperGroup):
    """``vigie simulate FILE`` is ``vigie simulate scenario FILE``; ``--compare A B`` is
    ``--compare A --compare B``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["scenario", *args]
        return super().parse_args(ctx, _spread(args))


def _spread(args: list[str]) -> list[str]:
    result: list[str] = []
    comparing = False
    for arg in args:
        if comparing and not arg.startswith("-") and not arg.endswith((".toml", ".csv")):
            result += [part for name in arg.split(",") if name for part in ("--compare", name)]
            continue
        comparing = arg == "--compare"
        if not comparing:
            result.append(arg)
    return result


app = typer.Typer(add_completion=False)
simulate = typer.Typer(
    cls=WithDefault,
    no_args_is_help=True,
    help="Minutes saved and minutes lost: what an order of reading does to whom.",
)
app.add_typer(simulate, name="simulate")


def _fail(text: str, code: int = 1) -> typer.Exit:
    sys.stderr.write(text.replace("\n", " ") + "\n")
    return typer.Exit(code)


@contextmanager
def _progress(label: str) -> Iterator[Any]:
    """A bar on stderr where a person looks; nothing where none does."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    with typer.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def show(done: int, of: int) -> None:
            bar.length, bar.pos = of, 0
            bar.update(done)

        yield show


@simulate.command("scenario")
def scenario(
    file: Annotated[
        Path | None, typer.Argument(help="a scenario, TOML", metavar="[SCENARIO.toml]")
    ] = None,
    compare: Annotated[list[str] | None, typer.Option(help=_COMPARE)] = None,
    qucad: Annotated[
        Path | None, typer.Option(help="scenarios of the form of FDA's QuCAD, JSON", dir_okay=False)
    ] = None,
    discipline: Annotated[
        Literal["preemptive-resume", "non-preemptive"],
        typer.Option(help="with --qucad: whether a read is interrupted by what is more urgent"),
    ] = "preemptive-resume",
    json: Annotated[bool, typer.Option("--json", help="the result as JSON on stdout")] = False,
    plot: Annotated[Path | None, typer.Option(help="file for the chart, .png or .svg")] = None,
    report: Annotated[Path | None, typer.Option(help="file for the report, .html")] = None,
    language: Annotated[Literal["en", "fr"], typer.Option(help="of report and chart")] = "en",
    seed: Annotated[
        int | None, typer.Option(help="which draw; default: the scenario's own", min=0)
    ] = None,
) -> None:
    """Runs a scenario (the word `scenario` can be left out)."""
    if (file is None) == (qucad is None):
        raise _fail(
            "say which: vigie simulate SCENARIO.toml, or vigie simulate --qucad FILE.json", 2
        )
    try:
        if qucad is not None:
            _qucad(qucad, discipline, json, 1 if seed is None else seed)
        elif file is not None:
            result = _run(file, compare or [], seed)
            _give(result, json, plot, report, language)
    except (ValueError, LookupError, ImportError, OSError) as error:
        raise _fail(_words(error)) from None


def _words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error.name} is missing: pip install 'vigie[simulate]'"
    return str(error.args[0]) if isinstance(error, LookupError) else str(error)


def _run(file: Path, compare: list[str], seed: int | None) -> dict[str, Any]:
    from worklist.simulate import twin
    from worklist.simulate.scenario_file import read_policy, read_scenario

    scenario = read_scenario(file)
    changes: dict[str, Any] = {}
    if compare:
        changes["policies"] = tuple(compare)
    if seed is not None:
        changes["seed"] = seed
    scenario = scenario.model_copy(update=changes)
    policy = read_policy(scenario, file, _site_policy)
    with _progress(scenario.name) as progress:
        return twin.simulate(scenario, policy, progress)


def _site_policy() -> Any:
    from streams.settings import StreamsSettings
    from worklist.order.policy import load

    return load(StreamsSettings().site)


def _qucad(file: Path, service: Any, json: bool, seed: int) -> None:
    from worklist.simulate import qucad

    answers = []
    for one in qucad.read_scenarios(file):
        with _progress(one.name) as progress:
            answers.append(qucad.answer(one, service, seed, progress))
    if json:
        _print_json({"seed": seed, "scenarios": answers})
        return
    for found in answers:
        with_ai, without = found["with_cadt"]["diseased"], found["without_cadt"]["diseased"]
        if with_ai is None:
            typer.echo(f"{found['id']}: nobody is diseased")
            continue
        typer.echo(
            f"{found['id']}: the diseased wait {with_ai:.2f} min with AI, {without:.2f} without: "
            f"{found['time_saving_diseased']:.2f} saved ({found['source']})"
        )


def _give(
    result: dict[str, Any], json: bool, plot: Path | None, report: Path | None, language: Any
) -> None:
    from worklist.simulate import report as paper

    if json:
        _print_json(result)
    else:
        typer.echo(paper.as_text(result), nl=False)
    if plot:
        if plot.suffix not in (".png", ".svg"):
            raise ValueError(f"--plot {plot.name}: the name ends in .png or .svg")
        paper.save_chart(result, language, plot)
    if report:
        report.write_text(paper.as_page(result, language), encoding="utf-8")


def _print_json(body: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
