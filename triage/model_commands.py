"""`vigie models` and `vigie evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.process import WRONG_USAGE, fail

app = typer.Typer(no_args_is_help=True)
models_app = typer.Typer(no_args_is_help=True, help="The model packages of this site.")
app.add_typer(models_app, name="models")

Packages = Annotated[list[str] | None, typer.Argument(help="names or folders; default: all")]
OnePackage = Annotated[str, typer.Argument(help="name or folder")]


def _folder(name: str) -> Path:
    """A package by name, or by the path of its folder."""
    from triage.settings import TriageSettings

    found = Path(name) if Path(name).is_dir() else TriageSettings().models / name
    if not found.is_dir():
        fail(f"{name}: no such package: vigie models list has their names")
    return found


def _folders(names: list[str] | None) -> list[Path]:
    """Those that are named, else all of the site."""
    from triage.packages.load import find_packages
    from triage.settings import TriageSettings

    if names:
        return [_folder(name) for name in names]
    models = TriageSettings().models
    return find_packages(models) or fail(f"{models}: no package is there (VIGIE_MODELS)")


def _check_drawable(plot: Path | None) -> None:
    """Before the work of minutes, not after it."""
    from triage.evaluation.plots import DRAWN

    if plot and plot.suffix.lower() not in DRAWN:
        fail(f"--plot: {plot.name}: a name that ends in {', '.join(DRAWN)} is needed", WRONG_USAGE)
    if plot and not plot.parent.is_dir():
        fail(f"--plot: {plot.parent}: no such folder", WRONG_USAGE)


@models_app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array on stdout")] = False,
) -> None:
    """Each package with version, intended use and whether it passes its checks."""
    found = [_about(folder) for folder in _folders(None)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for item in found:
        typer.echo(
            f"{item['name']} {item['version']}  {item['title']}"
            if item["ok"]
            else f"{item['name']}  refused: {item['why']}"
        )


def _about(folder: Path) -> dict[str, Any]:
    from triage.packages.load import PackageError, load_package
    from triage.packages.trust import read_keys, vouched_by
    from triage.settings import TriageSettings

    try:
        package = load_package(folder)
        manifest, voucher = package.manifest, vouched_by(package, read_keys(TriageSettings().site))
    except (PackageError, ValueError) as error:
        return {"name": folder.name, "ok": False, "why": str(error)}
    return {
        "name": manifest.name,
        "version": manifest.version,
        "title": manifest.title,
        "ok": True,
        "vouched_by": voucher,
        "runner": manifest.runner.kind,
        "findings": [output.label for output in manifest.outputs],
        "threshold": manifest.output.series.threshold,
        "threshold_of_one_image": manifest.output.image.threshold,
        "outputs": [
            {
                "code": output.code,
                "label": output.label,
                "threshold": output.series.threshold,
                "threshold_of_one_image": output.image.threshold,
            }
            for output in manifest.outputs
        ],
        "results": [result.model_dump(exclude_none=True) for result in manifest.results],
    }


@models_app.command("check")
def check(
    packages: Packages = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="folder of labelled images: measure anew, compare with the card",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Check each package as it is served: hashes, who vouches, network, references through jail
    and judgement; with --images, its figures too.
    """
    from triage.evaluation.heldout import differences
    from triage.evaluation.labels import EvaluateError
    from triage.evaluation.references import measure_references
    from triage.packages.load import PackageError, load_package
    from triage.packages.trust import read_keys, vouched_by
    from triage.settings import TriageSettings

    bad = 0
    for folder in _folders(packages):
        try:
            package = load_package(folder)
            voucher = vouched_by(package, read_keys(TriageSettings().site))
            wrong = [
                difference
                for one in measure_references(package)
                if (difference := one.difference())
            ]
            wrong += differences(package, images) if images else []
        except (PackageError, EvaluateError, ValueError) as error:
            bad += 1
            sys.stderr.write(f"{error}\n")
            continue
        for line in wrong:
            sys.stderr.write(f"{folder.name}: {line}\n")
        bad += bool(wrong)
        if not wrong:
            figures = ", and its figures are the card's" if images else ""
            typer.echo(f"{folder.name}: good{figures}; {voucher} vouches for it")
    if bad:
        raise typer.Exit(1)


@models_app.command("import")
def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            help="TorchXRayVision checkpoint, folder of a MONAI bundle, .onnx or .pt2", exists=True
        ),
    ],
    draft: Annotated[
        Path,
        typer.Option(help="TOML: what it is for, and which outputs count", dir_okay=False),
    ],
    to: Annotated[
        Path | None, typer.Option(help="folder of packages; default: the site's", file_okay=False)
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="DICOM file, or folder of one series, without a name in its pixels; again for more"
        ),
    ] = None,
) -> None:
    """Make somebody else's model a package; it is to be evaluated and signed then."""
    from triage.importing.checkpoint import ImportRefused
    from triage.importing.draft import read_draft
    from triage.importing.package import import_model as run
    from triage.packages.load import PackageError
    from triage.settings import TriageSettings

    try:
        made = run(source, read_draft(draft), to or TriageSettings().models, reference or ())
    except (ImportRefused, PackageError, OSError) as error:
        fail(str(error))
    typer.echo(f"{made.folder}: made; next: vigie evaluate, vigie models sign")


@models_app.command("key")
def make_key(
    file: Annotated[Path, typer.Argument(help="where the private key goes; keep it off the site")],
) -> None:
    """Make a pair of keys to sign packages with; prints the public one for model_keys.toml."""
    from triage.packages.trust import make_key as make

    try:
        public = make(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    typer.echo(f'[{file.stem}]\ned25519 = "{public}"')


@models_app.command("sign")
def sign_package(
    package: OnePackage,
    key: Annotated[Path, typer.Option(help="the private key, PEM", exists=True, dir_okay=False)],
) -> None:
    """Sign a package, once its references give what it says."""
    from triage.evaluation.references import measure_references
    from triage.packages.load import PackageError, load_package
    from triage.packages.trust import read_private, sign

    try:
        loaded = load_package(_folder(package))
        for one in measure_references(loaded):
            if difference := one.difference():
                fail(f"{loaded.name}: {difference}: not signed")
        sign(loaded, read_private(key))
    except (PackageError, OSError, ValueError) as error:
        fail(str(error))
    typer.echo(f"{loaded.name} {loaded.version}: signed")


@models_app.command("compile")
def compile_models(packages: Packages = None) -> None:
    """Compile each network for this CPU, once: `vigie triage` never compiles itself."""
    from triage.inference.compile import compile_packages
    from triage.settings import TriageSettings

    bad = 0
    for made in compile_packages(_folders(packages), TriageSettings().compiled):
        if made.why:
            bad += 1
            sys.stderr.write(f"{made.package}: not compiled: {made.why}\n")
            continue
        done = "compiled" if made.fresh else "was compiled"
        typer.echo(f"{made.package}: {done}, logits within {made.drift:.2g} of float32")
    if bad:
        raise typer.Exit(1)


@models_app.command("card")
def show_card(
    package: OnePackage,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="write reliability and ROC of each source to this file (PNG, SVG or PDF)"
        ),
    ] = None,
) -> None:
    """The model card, as Markdown."""
    from triage.evaluation.card import card
    from triage.evaluation.plots import draw, panels
    from triage.packages.load import PackageError, load_package

    _check_drawable(plot)
    try:
        loaded = load_package(_folder(package))
        if plot:
            draw(panels(loaded), plot)
        shown = f"\n\n![Reliability and ROC of each source]({plot.name})" if plot else ""
        typer.echo(card(loaded) + shown)
    except (PackageError, OSError, ValueError) as error:
        fail(str(error))


@models_app.command("explain")
def explain_series(
    series: Annotated[Path, typer.Argument(help="a DICOM file, or a folder of one series")],
    packages: Annotated[
        list[str] | None, typer.Option("--package", help="name or folder; default: all")
    ] = None,
) -> None:
    """Which rule of each package decides that a series is read, or why it is not."""
    from triage.evaluation.explain import explain
    from triage.packages.load import PackageError, load_package

    try:
        for folder in _folders(packages):
            for line in explain(load_package(folder), series):
                typer.echo(line)
    except (PackageError, OSError) as error:
        fail(str(error))


@app.command("evaluate")
def evaluate(
    package: OnePackage,
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
    finding: Annotated[
        str, typer.Option(help="code of the output that the truth is about, where it has several")
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="flag from this probability on; default: the package's own", min=0, max=1
        ),
    ] = None,
) -> None:
    """Measure a package on labelled images of your own: the card's figures, with intervals."""
    from triage.evaluation.evaluate import evaluate as run
    from triage.evaluation.labels import EvaluateError, read_labels
    from triage.evaluation.plots import draw, panel
    from triage.packages.load import PackageError, load_package

    _check_drawable(plot)
    try:
        measured = load_package(_folder(package))
        if finding or len(measured.manifest.outputs) > 1:
            measured = measured.looking_for(finding)
        measured = measured.flagging_at(threshold, threshold)
        result = run(measured, read_labels(labels, images))
        if plot:
            auroc = result.figures.auroc
            draw([panel(result.package, result.truth, result.probability, auroc)], plot)
    except (EvaluateError, PackageError, OSError, ValueError) as error:
        fail(str(error))
    if result.outside:
        sys.stderr.write(f"note: {result.outside}\n")
    document = result.document() | {
        "finding": measured.manifest.output.code,
        "network_sha256": measured.network_sha256,
    }
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name, value in document.items():
        typer.echo(f"{name:22} {value}")
