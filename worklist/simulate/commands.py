"""``vigie simulate``: a scenario, QuCAD's scenarios, or a site's own history."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

#: Minutes: a scenario says its own; a history is played with these.
_GUARD, _WORTHWHILE = 240.0, 15.0
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


@simulate.command("from-history")
def from_history(
    file: Annotated[Path, typer.Argument(help="arrivals and reads, CSV", dir_okay=False)],
    compare: Annotated[list[str] | None, typer.Option(help=_COMPARE)] = None,
    baseline: Annotated[str, typer.Option(help="what the others are compared with")] = "ai-off",
    policy: Annotated[
        Path | None, typer.Option(help="the list's policy, TOML; default: the site's")
    ] = None,
    timezone: Annotated[str, typer.Option(help="of times without offset: Europe/Paris")] = "",
    add_readers: Annotated[
        int, typer.Option(help="what if: so many more, whenever any was there", min=0, max=100)
    ] = 0,
    code: Annotated[str, typer.Option(help="the finding of --threshold and --model")] = "",
    threshold: Annotated[
        float | None, typer.Option(help="what if: flagged from this score on")
    ] = None,
    model: Annotated[
        str, typer.Option(help="what if: another model; SENSITIVITY,SPECIFICITY")
    ] = "",
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="nothing did arrive in long gaps")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="file for the fitted scenario, .toml: change it, run it")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the result as JSON on stdout")] = False,
    plot: Annotated[Path | None, typer.Option(help="file for the chart, .png or .svg")] = None,
    report: Annotated[Path | None, typer.Option(help="file for the report, .html")] = None,
    language: Annotated[Literal["en", "fr"], typer.Option(help="of report and chart")] = "en",
    seed: Annotated[int, typer.Option(help="of what is drawn", min=0)] = 1,
) -> None:
    """Plays a site's own days again, under each policy and what-if."""
    change = (code, threshold, model)
    try:
        rules = _policy_in(policy) if policy else _site_policy()
        if code and code not in rules.findings:
            raise ValueError(
                f"--code {code!r} is no finding of the policy {rules.name!r}: it has "
                f"{', '.join(sorted(rules.findings)) or 'none'}"
            )
        rows = _rows(file, timezone, change, seed, allow_gaps=allow_gaps)
        if write:
            _write_fit(rows, file, write, seed)
        names = [baseline, *(compare or ["vigie", "fifo"])]
        result = _replay(rows, file, rules, names, seed, add_readers)
        _give(result, json, plot, report, language)
    except (ValueError, LookupError, ImportError, OSError) as error:
        raise _fail(_words(error)) from None


def _rows(
    file: Path, timezone: str, change: tuple[str, float | None, str], seed: int, *, allow_gaps: bool
) -> list[Any]:
    """The file's lines, with another threshold or model if one is asked for."""
    import numpy as np

    from worklist.simulate import fit, history

    code, threshold, model = change
    rows = history.read_history(file, _zone(timezone))
    if not allow_gaps:
        fit.check_gaps(rows, file.name)
    if (threshold is not None or model) and not code:
        raise ValueError("--threshold and --model need --code: the finding code that is flagged")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"--threshold {threshold}: a finite number is needed")
    if threshold is not None:
        rows = history.with_threshold(rows, code, threshold)
    if model:
        rows = history.with_model(rows, code, _point(model), np.random.default_rng((seed, 1)))
    return rows


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name) if name else None
    except (LookupError, ValueError, OSError):
        raise ValueError(f"--timezone {name!r} is unknown: write it as Europe/Paris") from None


def _point(text: str) -> tuple[float, float]:
    try:
        sensitivity, specificity = (float(part) for part in text.split(","))
    except ValueError:
        sensitivity = specificity = -1.0
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1):
        raise ValueError(f"--model {text!r}: write SENSITIVITY,SPECIFICITY, as 0.9,0.85")
    return sensitivity, specificity


def _write_fit(rows: list[Any], file: Path, to: Path, seed: int) -> None:
    from pydantic import ValidationError

    from worklist.simulate.fit import as_toml, fit
    from worklist.simulate.scenario import Scenario

    fitted = fit(rows, file.stem, seed)
    try:
        Scenario.model_validate(fitted)
    except ValidationError as error:
        mistake = error.errors()[0]
        where = ".".join(map(str, mistake["loc"]))
        raise ValueError(f"--write: what was fitted cannot run: {where} {mistake['msg']}") from None
    to.write_text(as_toml(fitted), encoding="utf-8")


def _replay(
    rows: list[Any], file: Path, rules: Any, names: list[str], seed: int, added: int
) -> dict[str, Any]:
    import numpy as np

    from worklist.simulate import history

    found = history.replayable(rows, np.random.default_rng((seed, 2)), add_readers=added)
    return history.simulate(
        found,
        rules,
        names,
        guard=_GUARD,
        worthwhile=_WORTHWHILE,
        about={"name": file.stem, "seed": seed},
    )


def _policy_in(file: Path) -> Any:
    from worklist.order import policy as policies

    try:
        return policies.parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--policy {file.name}: {error}") from None


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
    from worklist.simulate.qucad import model as qucad
    from worklist.simulate.qucad.file import read_scenarios

    answers = []
    for one in read_scenarios(file):
        with _progress(one.name) as progress:
            answers.append(qucad.answer(one, service, seed, progress))
        for warning in answers[-1]["warnings"]:
            sys.stderr.write(f"{one.name}: {warning}\n")
    if json:
        _print_json({"seed": seed, "scenarios": answers})
        return
    for found in answers:
        if found["source"] is None:
            typer.echo(f"{found['id']}: no exact answer is known, and it was not simulated")
            continue
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

    for warning in result["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
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
