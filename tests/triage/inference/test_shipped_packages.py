"""The shipped packages give their references and phantoms the scores that they should."""

from __future__ import annotations

import numpy as np
import pytest

from triage.evaluation.references import measure_references
from triage.inference.network import Screener
from triage.inputs.prepare import prepare
from triage.judging.flagging import judge
from triage.packages.load import Package, load_package
from triage.phantoms.series import phantom_series
from triage.settings import shipped_models

NAMES = ("chest-opacity", "head-ct-ich")
each = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> Package:
    return load_package(shipped_models() / name)


@each
def test_references_have_the_scores_and_verdicts_that_they_had(name: str) -> None:
    assert [one.difference() for one in measure_references(load(name))] == [""] * 4


@each
def test_phantoms_with_the_finding_are_flagged_and_the_others_are_not(name: str) -> None:
    package = load(name)
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    right = 0
    for seed in range(500, 524):
        frames, truth = phantom_series(np.random.default_rng(seed), spec.kind)
        images = prepare(frames, spec)
        right += (judge(package, screener.scores(images)).outcome == "flagged") == bool(truth)
    assert right >= 20


def test_a_sites_threshold_changes_the_verdict_and_nothing_else() -> None:
    package = load("head-ct-ich")
    spec = package.input
    screener = Screener(package, (spec.channels, spec.height, spec.width), device="cpu")
    images = prepare(phantom_series(np.random.default_rng(12), spec.kind)[0], spec)
    scores = screener.scores(images)
    own = judge(package, scores)
    below, above = (
        judge(package.flagging_at(own.probability + step), scores) for step in (-1e-6, 1e-6)
    )
    assert (below.outcome, above.outcome) == ("flagged", "not_flagged")
    assert own.probability == below.probability == above.probability
