"""A site's own thresholds: none without the file, and a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from triage.packages.load import Package, load_package
from triage.packages.thresholds import read_thresholds
from triage.settings import shipped_models

NAME = "head-ct-ich"


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(shipped_models() / NAME)


def test_a_site_that_says_nothing_has_the_packages_own(tmp_path: Path, package: Package) -> None:
    assert read_thresholds(tmp_path, [NAME]) == {}
    assert package.flagging_at(None) is package


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = 1.0\n")
    with pytest.raises(ValueError, match=r"models\.toml: head-ct-ich\.threshold"):
        read_thresholds(tmp_path, [NAME])
