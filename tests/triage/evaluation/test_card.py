"""The model card says what the manifest says."""

from __future__ import annotations

import pytest

from tests.triage.evaluation.cards import NAMES
from triage.evaluation.card import card
from triage.packages.load import load_package
from triage.settings import shipped_models


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_the_manifest_says(name: str) -> None:
    package = load_package(shipped_models() / name)
    text = card(package)
    assert package.manifest.intended_use in text
    assert f"{package.manifest.results[0].auroc:.3f}" in text
    assert "negative" not in text.lower()
