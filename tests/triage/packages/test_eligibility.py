"""Which series a package is meant for."""

from __future__ import annotations

from dataclasses import replace

from triage.packages.eligibility import SeriesFacts
from triage.packages.load import load_package
from triage.settings import shipped_models


def test_the_chest_package_looks_at_children_of_its_ages_only() -> None:
    package = load_package(shipped_models() / "chest-opacity")
    child = SeriesFacts(modality="DX", body_part="CHEST", age_years=3.0, view="AP")
    assert package.why_ineligible(child) is None
    assert package.why_ineligible(replace(child, age_years=45.0)) == "outside_intended_use_age"
    assert package.why_ineligible(replace(child, age_years=None)) == "outside_intended_use_age"
    assert (
        package.why_ineligible(replace(child, body_part="KNEE")) == "outside_intended_use_body_part"
    )
    assert package.why_ineligible(replace(child, view="LATERAL")) == "outside_intended_use_view"
