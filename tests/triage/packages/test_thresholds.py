"""A site's own threshold: what is flagged follows it, and the event says which one it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triage.inference.network import Screener
from triage.inputs.prepare import prepare
from triage.judging.flagging import judge
from triage.packages.load import Package, load_package
from triage.packages.loaded import load_residents
from triage.packages.thresholds import read_thresholds
from triage.settings import TriageSettings, shipped_models
from triage.worker.constancy import reference_series

NAME = "head-ct-ich"


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(shipped_models() / NAME)


def test_a_site_that_says_nothing_has_the_packages_own(tmp_path: Path, package: Package) -> None:
    assert read_thresholds(tmp_path, [NAME]) == {}
    assert package.flagging_at(None) is package


def test_a_sites_threshold_changes_the_verdict_and_nothing_else(package: Package) -> None:
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    images = prepare(reference_series(np.random.default_rng(12), spec.kind)[0], spec)
    scores = screener.scores(images)
    own = judge(package, scores, images)
    below, above = (
        judge(package.flagging_at(own.probability + step), scores, images) for step in (-1e-6, 1e-6)
    )
    assert (below.outcome, above.outcome) == ("flagged", "not_flagged")
    assert own.probability == below.probability == above.probability


def test_triage_reads_it_and_the_finding_carries_it(tmp_path: Path) -> None:
    verdicts = []
    for threshold in (0.000001, 0.999999):
        (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = {threshold:f}\n")
        residents, references = load_residents(TriageSettings(site=tmp_path))
        resident = next(one for one in residents if one.name == NAME)
        frames = next(reference.frames for reference in references if reference.package == NAME)
        images = resident.prepare(frames)
        verdicts.append(resident.judge(resident.network(images), images))
        other = next(one for one in residents if one.name != NAME)
        film = other.prepare(
            next(reference.frames for reference in references if reference.package == other.name)
        )
        own = load_package(shipped_models() / other.name).manifest.image.threshold
        assert other.judge(other.network(film), film).findings[0].threshold == own
    assert [verdict.outcome for verdict in verdicts] == ["flagged", "not_flagged"]
    assert [verdict.findings[0].threshold for verdict in verdicts] == [0.000001, 0.999999]


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = 1.0\n")
    with pytest.raises(ValueError, match=r"models\.toml: head-ct-ich\.threshold"):
        load_residents(TriageSettings(site=tmp_path))
