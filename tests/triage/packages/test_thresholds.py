"""A site's own thresholds: none without the file, and a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triage.judging.flagging import judge
from triage.packages.load import Package, PackageError, load_package
from triage.packages.thresholds import SitePackage, read_thresholds
from triage.settings import shipped_models

NAME = "head-ct-ich"


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(shipped_models() / NAME)


def test_a_site_that_says_nothing_has_the_packages_own(tmp_path: Path, package: Package) -> None:
    assert read_thresholds(tmp_path, [NAME]) == {}
    assert package.flagging_at() is package


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = 1.0\n")
    with pytest.raises(ValueError, match=r"models\.toml: head-ct-ich\.threshold"):
        read_thresholds(tmp_path, [NAME])


def test_each_scale_has_its_own_threshold_and_the_other_stays(
    tmp_path: Path, package: Package
) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold_of_one_image = 0.3\n")
    said = read_thresholds(tmp_path, [NAME])[NAME]
    changed = package.flagging_at(said.threshold, said.threshold_of_one_image)
    before, after = package.manifest.output, changed.manifest.output
    assert (after.image.threshold, after.series) == (0.3, before.series)
    assert [changed.threshold_source(images) for images in (1, 2)] == ["site", "package"]
    both = package.flagging_at(0.2, 0.4).manifest.output
    assert (both.series.threshold, both.image.threshold) == (0.2, 0.4)


def test_a_table_that_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\n")
    with pytest.raises(ValueError, match="threshold, threshold_of_one_image or prevalence"):
        read_thresholds(tmp_path, [NAME])


@pytest.mark.parametrize("share", [1e-4, 0.1, 0.74, 0.999])
def test_another_prevalence_moves_probabilities_and_flags_the_same(share: float) -> None:
    chest = load_package(shipped_models() / "chest-opacity")
    moved = SitePackage(prevalence=share).applied(chest)
    own = chest.manifest.training.positives / chest.manifest.training.cases
    for logit in np.linspace(-6, 6, 25):
        scores = np.array([[logit, -9.0, 0.0]], np.float32)
        before, after = judge(chest, scores), judge(moved, scores)
        assert after.outcome == before.outcome
        odds = [one.probability / (1 - one.probability) for one in (before, after)]
        assert odds[1] / odds[0] == pytest.approx((share / (1 - share)) / (own / (1 - own)))
    assert moved.threshold_source(1) == "package"


def test_a_sites_threshold_is_on_the_scale_of_its_prevalence() -> None:
    chest = load_package(shipped_models() / "chest-opacity")
    site = SitePackage(prevalence=0.1, threshold_of_one_image=0.3)
    changed = site.applied(chest).manifest.output.image
    assert changed.threshold == 0.3
    assert changed.intercept < chest.manifest.output.image.intercept


def test_a_package_that_does_not_say_its_prevalence_is_refused_with_another(
    package: Package,
) -> None:
    # Its series have the finding more often than its images, and it says neither share.
    with pytest.raises(PackageError, match="prevalence"):
        SitePackage(prevalence=0.1).applied(package)
