"""The card's figures come out of the package; what was changed since is found."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.triage.evaluation.cards import NAMES, told
from triage.evaluation.evaluate import evaluate
from triage.evaluation.heldout import differences, held_out
from triage.evaluation.labels import EvaluateError
from triage.model_commands import app
from triage.packages.load import Package, load_package
from triage.packages.manifest import WEIGHTS, Result
from triage.phantoms.series import phantom_series
from triage.settings import shipped_models


@pytest.mark.needs("corpora")
@pytest.mark.parametrize("name", NAMES)
def test_the_held_out_figures_are_those_of_the_card(name: str, corpora_dir: Path) -> None:
    package = told(load_package(shipped_models() / name))
    assert package.manifest.results[0].auroc is not None
    assert differences(package, corpora_dir / "images") == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom films of twelve patients with noise, half held out, and some of another source."""
    folder = tmp_path_factory.mktemp("corpus")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "set", "fold", "urgent", "patient_id", "other"])
        for number in range(30):
            (frame,), truth = phantom_series(np.random.default_rng(700 + number), "chest_film")
            noise = np.random.default_rng(number).normal(0, 0.3, frame.pixels.shape)
            Image.fromarray((np.clip(frame.pixels + noise, 0, 1) * 255).astype(np.uint8)).save(
                folder / f"{number}.png"
            )
            source, fold = (
                ("ours", "test")
                if number < 24
                else ("ours", "0")
                if number < 27
                else ("elsewhere", "0")
            )
            rows.writerow([f"{number}.png", source, fold, truth, f"p{number // 2}", 1 - truth])
    return folder


@pytest.fixture(scope="module")
def measured(corpus: Path) -> Package:
    """The chest package with a card of its own for that corpus, and a threshold amid its cases."""
    shipped = told(load_package(shipped_models() / "chest-opacity"))
    shipped = replace(
        shipped,
        manifest=shipped.manifest.model_copy(
            update={"results": (Result.model_validate(NO_FIGURES),)}
        ),
    )
    cases = held_out(shipped, "ours", corpus)
    assert (len(cases), len(held_out(shipped, "elsewhere", corpus))) == (24, 3)
    middle = float(np.median(evaluate(shipped, cases).probability))
    package = shipped.flagging_at(middle, middle)
    figures = asdict(evaluate(package, cases).figures)
    results = (Result(source="ours", unit="image", abstained=0, **figures),)
    return told(package, results=results)


NO_FIGURES = {
    "source": "ours",
    "unit": "image",
    "n": 1,
    "positives": 0,
    "patients": 1,
    "abstained": 0,
}


def test_an_untouched_package_has_the_figures_of_its_card(measured: Package, corpus: Path) -> None:
    assert differences(measured, corpus) == []


def thresholded(package: Package, _corpus: Path) -> Package:
    low = package.manifest.output.image.threshold * 0.01
    return package.flagging_at(low, low)


def relabelled(package: Package, corpus: Path) -> Package:
    text = (corpus / "labels.csv").read_text()
    (corpus / "labels.csv").write_text(text.replace("urgent", "was").replace("other", "urgent"))
    return package


def another_fold(package: Package, _corpus: Path) -> Package:
    training = package.manifest.training.model_copy(update={"held_out": "0"})
    return replace(package, manifest=package.manifest.model_copy(update={"training": training}))


def reweighted(package: Package, corpus: Path) -> Package:
    """Other weights under a hash that is right."""
    folder = Path(shutil.copytree(package.folder, corpus / package.name))
    tensors = load_file(folder / WEIGHTS)
    for key in [key for key in tensors if key.endswith("head.weight")]:
        tensors[key] = tensors[key] * -1
    before = package.manifest.files[WEIGHTS]
    save_file(tensors, folder / WEIGHTS)
    files = {
        **package.manifest.files,
        WEIGHTS: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    }
    assert files[WEIGHTS] != before
    return replace(
        package, folder=folder, manifest=package.manifest.model_copy(update={"files": files})
    )


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (thresholded, "specificity"),
        (relabelled, "auroc"),
        (another_fold, "n is 3"),
        (reweighted, "auroc"),
    ],
)
def test_what_was_changed_is_found(
    change: Callable[[Package, Path], Package],
    figure: str,
    measured: Package,
    corpus: Path,
    tmp_path: Path,
) -> None:
    images = Path(shutil.copytree(corpus, tmp_path / "images"))
    assert any(figure in line for line in differences(change(measured, images), images))


def test_the_command_names_what_is_missing(corpus: Path) -> None:
    done = CliRunner().invoke(app, ["models", "check", "chest-opacity", "--images", str(corpus)])
    assert done.exit_code == 1
    assert "training.held_out" in done.stderr or "no case of kermany224" in done.stderr
    with pytest.raises(EvaluateError, match="no case of nowhere"):
        held_out(told(load_package(shipped_models() / NAMES[0])), "nowhere", corpus)
