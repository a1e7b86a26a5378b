"""The card's figures and curves come out of the package: what was changed since is found by
measuring anew.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from triage.evaluation.card import card, draw, panel, panels
from triage.evaluation.evaluate import EvaluateError, evaluate
from triage.evaluation.figures import auroc, ece
from triage.evaluation.heldout import differences, held_out
from triage.model_commands import app
from triage.packages.load import WEIGHTS, Package, Result, load_package
from triage.settings import shipped_models
from triage.train import package as workshop
from triage.worker.constancy import reference_series

NAMES = ("chest-opacity", "head-ct-ich")
#: Of packages whose manifest does not say it yet.
_FOLDS = {"head-ct-ich": "0", "chest-opacity": "test"}


def told(package: Package, **more: object) -> Package:
    training = package.manifest.training
    training = training.model_copy(update={"held_out": training.held_out or _FOLDS[package.name]})
    return replace(
        package, manifest=package.manifest.model_copy(update={"training": training, **more})
    )


@pytest.mark.needs("corpora")
@pytest.mark.parametrize("name", NAMES)
def test_the_held_out_figures_are_those_of_the_card(name: str, corpora_dir: Path) -> None:
    package = told(load_package(shipped_models() / name))
    assert package.manifest.results[0].auroc is not None
    assert differences(package, corpora_dir / "images") == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom films of twelve patients with noise, half of them held out, and some of another fold
    and another source.
    """
    folder = tmp_path_factory.mktemp("corpus")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "set", "fold", "urgent", "patient_id", "other"])
        for number in range(30):
            (frame,), truth = reference_series(np.random.default_rng(700 + number), "chest_film")
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
    """The chest package with a card of its own for that corpus, and a threshold in the middle of
    its cases.
    """
    shipped = told(load_package(shipped_models() / "chest-opacity"))
    shipped = replace(
        shipped,
        manifest=shipped.manifest.model_copy(
            update={"results": (Result.model_validate(NO_FIGURES),)}
        ),
    )
    cases = held_out(shipped, "ours", corpus)
    assert (len(cases), len(held_out(shipped, "elsewhere", corpus))) == (24, 3)
    package = shipped.flagging_at(float(np.median(evaluate(shipped, cases).probability)))
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
    return package.flagging_at(package.manifest.image.threshold * 0.01)


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


# --- curves


def groups(count: int = 300) -> list[workshop.Group]:
    rng = np.random.default_rng(5)
    truths = rng.integers(0, 2, count)
    return [
        workshop.Group(rng.normal(2.0 * t - 1, 1.5, 1).astype(np.float32), int(t), f"p{i // 3}")
        for i, t in enumerate(truths)
    ]


def with_curves(package: Package) -> Package:
    """As training writes it: results with curves, through TOML and back."""
    rows = [
        workshop.result("one", "image", groups(), package.manifest.image, 1, 0),
        workshop.result(
            "positives only",
            "image",
            [g for g in groups(60) if g.truth],
            package.manifest.image,
            1,
            0,
        ),
    ]
    read = tomllib.loads(workshop._toml({"results": rows}))["results"]
    return told(package, results=tuple(Result.model_validate(row) for row in read))


@pytest.mark.parametrize("name", NAMES)
def test_curves_and_figures_of_a_card_are_of_the_same_cases(name: str) -> None:
    shipped = load_package(shipped_models() / name)
    for result in (
        *with_curves(shipped).manifest.results,
        *(r for r in shipped.manifest.results if r.reliability),
    ):
        assert sum(count for _, _, count in result.reliability) == result.n
        assert sum(round(rate * count) for _, rate, count in result.reliability) == result.positives
        assert sum(
            abs(p - rate) * count for p, rate, count in result.reliability
        ) / result.n == pytest.approx(result.ece, abs=0.001)
        assert len(result.roc) <= 40
        if result.auroc is None:
            assert result.roc == ()
        else:
            assert np.trapezoid(
                [y for _, y in result.roc], [x for x, _ in result.roc]
            ) == pytest.approx(result.auroc, abs=0.01)


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_card_is_drawn_from_the_manifest_alone(
    suffix: str, magic: bytes, tmp_path: Path
) -> None:
    package = with_curves(load_package(shipped_models() / NAMES[0]))
    rows = panels(package)
    assert [row.title for row in rows] == ["one by image", "positives only by image"]
    assert (rows[0].roc != (), rows[1].roc) == (True, ())
    draw(rows, tmp_path / f"card.{suffix}")
    assert (tmp_path / f"card.{suffix}").read_bytes().startswith(magic)
    assert "one | image | 300" in card(package)


def test_a_card_without_curves_is_told_and_a_bad_name_is_wrong_usage(tmp_path: Path) -> None:
    shipped = load_package(shipped_models() / NAMES[0])
    bare = tuple(
        result.model_copy(update={"reliability": (), "roc": ()})
        for result in shipped.manifest.results
    )
    with pytest.raises(ValueError, match="no curves"):
        panels(told(shipped, results=bare))
    assert (
        CliRunner()
        .invoke(app, ["models", "card", NAMES[0], "--plot", str(tmp_path / "card.gif")])
        .exit_code
        == 2
    )


def test_a_panel_of_measured_cases_has_their_figures() -> None:
    cases = groups()
    truth, p = [g.truth for g in cases], [float(1 / (1 + np.exp(-g.logits[0]))) for g in cases]
    shown = panel("here", truth, p, 0.5)
    y, given = np.array(truth, float), np.array(p)
    assert np.trapezoid([b for _, b in shown.roc], [a for a, _ in shown.roc]) == pytest.approx(
        auroc(y, given), abs=0.002
    )
    assert sum(abs(m - r) * c for m, r, c in shown.reliability) / shown.n == pytest.approx(
        ece(y, given)
    )
