"""Packages become loaded models: a bad one is left out, a site's threshold is theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from triage.packages.load import load_package
from triage.packages.manifest import WEIGHTS
from triage.settings import TriageSettings, shipped_models
from triage.worker.loading import load_models

NAMES = ("chest-opacity", "head-ct-ich")
NAME = NAMES[1]


def test_a_refused_package_is_left_out_and_counted(tmp_path: Path) -> None:
    models = Path(shutil.copytree(shipped_models(), tmp_path / "models"))
    (models / NAMES[0] / WEIGHTS).write_bytes(b"not what was trained")
    models, _ = load_models(TriageSettings(models=models, site=tmp_path))
    assert [model.name for model in models] == [NAMES[1]]
    assert REGISTRY.get_sample_value("vigie_triage_packages_refused") == 1


def test_triage_reads_it_and_the_finding_carries_it(tmp_path: Path) -> None:
    verdicts = []
    for threshold in (0.000001, 0.999999):
        (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = {threshold:f}\n")
        models, references = load_models(TriageSettings(site=tmp_path))
        model = next(one for one in models if one.name == NAME)
        frames = next(reference.frames for reference in references if reference.package == NAME)
        images = model.prepare(frames)
        verdicts.append(model.judge(model.network(images), images))
        other = next(one for one in models if one.name != NAME)
        film = other.prepare(
            next(reference.frames for reference in references if reference.package == other.name)
        )
        own = load_package(shipped_models() / other.name).manifest.image.threshold
        assert other.judge(other.network(film), film).findings[0].threshold == own
    assert [verdict.outcome for verdict in verdicts] == ["flagged", "not_flagged"]
    assert [verdict.findings[0].threshold for verdict in verdicts] == [0.000001, 0.999999]


def test_wrong_thresholds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = 1.0\n")
    with pytest.raises(ValueError, match=r"models\.toml: head-ct-ich\.threshold"):
        load_models(TriageSettings(site=tmp_path))
