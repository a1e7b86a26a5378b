"""The shipped packages are what their cards say; a package that was changed is refused or found
out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client import REGISTRY
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from triage.evaluation.card import card
from triage.evaluation.evaluate import EvaluateError, evaluate, read_labels
from triage.inference.network import Screener
from triage.inputs.prepare import prepare
from triage.judging.flagging import judge
from triage.model_commands import app
from triage.packages.load import MANIFEST, WEIGHTS, Package, PackageError, SeriesFacts, load_package
from triage.packages.loaded import load_residents
from triage.settings import TriageSettings, shipped_models
from triage.worker.constancy import reference_series, references

NAMES = ("chest-opacity", "head-ct-ich")
each = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> Package:
    return load_package(shipped_models() / name)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A package that a test may change."""
    return Path(shutil.copytree(shipped_models() / NAMES[0], tmp_path / NAMES[0]))


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / MANIFEST).read_text()
    assert old in text
    (folder / MANIFEST).write_text(text.replace(old, new))


def resave(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """New weights under a hash that is right: only the content can give them away."""
    before = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    save_file(tensors, folder / WEIGHTS)
    rewrite(folder, before, hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


@each
def test_a_shipped_package_loads_and_is_small(name: str) -> None:
    package = load(name)
    package.load_network()
    assert sum(file.stat().st_size for file in package.folder.iterdir()) < 15_000_000
    assert package.manifest.results


def test_a_changed_weight_bit_is_noticed(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS).write_bytes(content)
    with pytest.raises(PackageError, match="sha256"):
        load_package(copy)


def test_a_refused_package_is_left_out_and_counted(tmp_path: Path) -> None:
    models = Path(shutil.copytree(shipped_models(), tmp_path / "models"))
    (models / NAMES[0] / WEIGHTS).write_bytes(b"not what was trained")
    residents, _ = load_residents(TriageSettings(models=models, site=tmp_path))
    assert [resident.name for resident in residents] == [NAMES[1]]
    assert REGISTRY.get_sample_value("vigie_triage_packages_refused") == 1


def test_an_unknown_field_is_refused_by_name(copy: Path) -> None:
    rewrite(copy, "[operating]", "[operating]\nsurprise = 1")
    with pytest.raises(PackageError, match="surprise"):
        load_package(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["network.members.0.head.weight"] = torch.zeros(1, 3)
    resave(copy, tensors)
    with pytest.raises(PackageError, match="do not fit"):
        load_package(copy).load_network()


def test_weights_that_are_no_numbers_are_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["network.members.1.head.bias"] = torch.full_like(
        tensors["network.members.1.head.bias"], float("nan")
    )
    resave(copy, tensors)
    with pytest.raises(PackageError, match="not finite"):
        load_package(copy).load_network()


def test_a_package_that_ran_away_from_its_name_is_refused(copy: Path) -> None:
    with pytest.raises(PackageError, match="calls itself"):
        load_package(copy.rename(copy.with_name("other")))


def test_the_chest_package_looks_at_children_of_its_ages_only() -> None:
    package = load("chest-opacity")
    child = SeriesFacts(modality="DX", body_part="CHEST", age_years=3.0, view="AP")
    assert package.eligible(child) is None
    assert package.eligible(replace(child, age_years=45.0)) == "outside_intended_use_age"
    assert package.eligible(replace(child, age_years=None)) == "outside_intended_use_age"
    assert package.eligible(replace(child, body_part="KNEE")) == "outside_intended_use_body_part"
    assert package.eligible(replace(child, view="LATERAL")) == "outside_intended_use_view"


@each
def test_constancy_references_have_the_scores_that_they_had(name: str) -> None:
    package = load(name)
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    found = references([package])
    assert found
    for reference in found:
        assert (
            abs(float(screener.scores(prepare(reference.frames, spec)).mean()) - reference.expected)
            <= reference.tolerance
        )


@each
def test_phantoms_with_the_finding_are_flagged_and_the_others_are_not(name: str) -> None:
    package = load(name)
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    right = 0
    for seed in range(500, 524):
        frames, truth = reference_series(np.random.default_rng(seed), spec.kind)
        images = prepare(frames, spec)
        right += (judge(package, screener.scores(images), images).outcome == "flagged") == bool(
            truth
        )
    assert right >= 20


@each
def test_the_card_says_what_the_manifest_says(name: str) -> None:
    package = load(name)
    text = card(package)
    assert package.manifest.intended_use in text
    assert f"{package.manifest.results[0].auroc:.3f}" in text
    assert "negative" not in text.lower()


def labelled(folder: Path, count: int = 6) -> Path:
    """Films of noise with truths, and one row that is wrong for each way to be wrong."""
    lines = ["file,truth,patient_id"]
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (80, 80), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_evaluate_from_the_command_line(tmp_path: Path) -> None:
    labels, plot = labelled(tmp_path), tmp_path / "plot.png"
    run = CliRunner().invoke(
        app,
        [
            "evaluate",
            "chest-opacity",
            "--labels",
            str(labels),
            "--images",
            str(tmp_path),
            "--json",
            "--plot",
            str(plot),
        ],
    )
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert {
        "auroc",
        "auroc_ci95",
        "sensitivity",
        "specificity",
        "ece",
        "n",
        "abstained",
    } <= result.keys()
    assert (result["n"], result["patients"]) == (6, 3)
    assert "not checked" in result["outside_intended_use"]
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("line", ["missing.png,1,p", "0.png,2,p", "../labels.csv,1,p", ",1,p"])
def test_wrong_labels_are_told_by_line(line: str, tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    labels.write_text(labels.read_text() + line + "\n")
    with pytest.raises(EvaluateError, match="line 8"):
        read_labels(labels, tmp_path)


def test_a_file_that_is_no_image_is_told_by_name(tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(EvaluateError, match=r"0\.png"):
        evaluate(load("chest-opacity"), read_labels(labels, tmp_path))


def test_models_list_and_check() -> None:
    run = CliRunner().invoke(app, ["models", "list", "--json"])
    assert [item["name"] for item in json.loads(run.stdout)] == sorted(NAMES)
    assert CliRunner().invoke(app, ["models", "check"]).exit_code == 0
