"""``vigie models`` and ``vigie evaluate``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from streams.process import WRONG_USAGE, fail

app = typer.Typer(no_args_is_help=True)
models_app = typer.Typer(no_args_is_help=True, help="The model packages of this site.")
app.add_typer(models_app, name="models")


def _folder(name: str) -> Path:
    """A package by name, or by the path of its folder."""
    from triage.settings import TriageSettings

    return Path(name) if Path(name).is_dir() else TriageSettings().models / name


def _drawable(plot: Path | None) -> None:
    """Before the work of minutes, not after it."""
    from triage.evaluation.card import DRAWN

    if plot and plot.suffix.lower() not in DRAWN:
        fail(f"--plot: {plot.name}: a name that ends in {', '.join(DRAWN)} is needed", WRONG_USAGE)


@models_app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """Each package with version, intended use and whether it passes its checks."""
    from triage.packages.load import PackageError, find_packages, load_package
    from triage.settings import TriageSettings

    found = []
    for folder in find_packages(TriageSettings().models):
        try:
            manifest = load_package(folder).manifest
        except PackageError as error:
            found.append({"name": folder.name, "ok": False, "why": str(error)})
            continue
        found.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "title": manifest.title,
                "ok": True,
                "findings": [finding.label for finding in manifest.findings],
                "threshold": manifest.series.threshold,
                "threshold_of_one_image": manifest.image.threshold,
                "results": [result.model_dump(exclude_none=True) for result in manifest.results],
            }
        )
    if as_json:
        typer.echo(json.dumps(found))
        return
    for item in found:
        typer.echo(
            f"{item['name']} {item['version']}  {item['title']}"
            if item["ok"]
            else f"{item['name']}  refused: {item['why']}"
        )


@models_app.command("check")
def check(
    packages: Annotated[
        list[str] | None, typer.Argument(help="names or folders; default: all")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="folder of labelled images: measure anew, compare with the card",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Load each package in full: manifest, hashes, weights, architecture; with --images, its
    figures too.
    """
    from triage.evaluation.evaluate import EvaluateError
    from triage.evaluation.heldout import differences
    from triage.packages.load import PackageError, find_packages, load_package
    from triage.settings import TriageSettings

    bad = 0
    for folder in (
        [_folder(name) for name in packages] if packages else find_packages(TriageSettings().models)
    ):
        try:
            package = load_package(folder)
            package.load_network()
            wrong = differences(package, images) if images else []
        except (PackageError, EvaluateError) as error:
            bad += 1
            sys.stderr.write(f"{error}\n")
            continue
        for line in wrong:
            sys.stderr.write(f"{folder.name}: {line}\n")
        bad += bool(wrong)
        if not wrong:
            typer.echo(
                f"{folder.name}: good" + (", and its figures are the card's" if images else "")
            )
    if bad:
        raise typer.Exit(1)


@models_app.command("compile")
def compile_models(
    packages: Annotated[
        list[str] | None, typer.Argument(help="names or folders; default: all")
    ] = None,
) -> None:
    """Compile each network for this CPU, once, into the folder that `vigie triage` reads: it never
    compiles itself.
    """
    from triage.inference.compile import compile_packages
    from triage.packages.load import find_packages
    from triage.settings import TriageSettings

    settings, bad = TriageSettings(), 0
    folders = [_folder(name) for name in packages] if packages else find_packages(settings.models)
    for made in compile_packages(folders, settings.compiled):
        if made.why:
            bad += 1
            sys.stderr.write(f"{made.package}: not compiled: {made.why}\n")
        else:
            typer.echo(
                f"{made.package}: {'compiled' if made.fresh else 'was compiled'}, logits within {made.drift:.2g} of float32"
            )
    if bad:
        raise typer.Exit(1)


@models_app.command("card")
def show_card(
    package: Annotated[str, typer.Argument(help="name or folder")],
    plot: Annotated[
        Path | None,
        typer.Option(
            help="write reliability and ROC of each source to this file (PNG, SVG or PDF)"
        ),
    ] = None,
) -> None:
    """The model card, as Markdown."""
    from triage.evaluation.card import card, draw, panels
    from triage.packages.load import PackageError, load_package

    _drawable(plot)
    try:
        loaded = load_package(_folder(package))
        if plot:
            draw(panels(loaded), plot)
        typer.echo(
            card(loaded)
            + (f"\n\n![Reliability and ROC of each source]({plot.name})" if plot else "")
        )
    except (PackageError, OSError, ValueError) as error:
        fail(str(error))


@app.command("evaluate")
def evaluate(
    package: Annotated[str, typer.Argument(help="name or folder")],
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV: file, truth (0 or 1), perhaps patient_id", exists=True, dir_okay=False
        ),
    ],
    images: Annotated[
        Path,
        typer.Option(help="folder of the files: DICOM, PNG or JPEG", exists=True, file_okay=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="write reliability and ROC to this file (PNG, SVG or PDF)")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="flag from this probability on; default: the package's own", min=0, max=1
        ),
    ] = None,
) -> None:
    """Measure a package on labelled images of your own: the card's figures, with intervals."""
    from triage.evaluation import card
    from triage.evaluation.evaluate import EvaluateError, read_labels
    from triage.evaluation.evaluate import evaluate as run
    from triage.packages.load import PackageError, load_package

    _drawable(plot)
    try:
        result = run(
            load_package(_folder(package)).flagging_at(threshold), read_labels(labels, images)
        )
        if plot:
            card.draw(
                [
                    card.panel(
                        result.package, result.truth, result.probability, result.figures.auroc
                    )
                ],
                plot,
            )
    except (EvaluateError, PackageError, OSError, ValueError) as error:
        fail(str(error))
    if result.outside:
        sys.stderr.write(f"note: {result.outside}\n")
    if as_json:
        typer.echo(json.dumps(result.document()))
        return
    for name, value in result.document().items():
        typer.echo(f"{name:22} {value}")
