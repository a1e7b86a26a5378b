"""Packages become loaded models: a bad one is left out, a site's threshold is theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from streams.errors import Reason
from tests.triage.worker.harness import series
from triage.packages.load import load_package
from triage.packages.manifest import MANIFEST, WEIGHTS
from triage.phantoms.series import phantom_series
from triage.settings import TriageSettings, shipped_models
from triage.worker.loading import load_models, refused_packages

NAMES = ("chest-opacity", "head-ct-ich")
NAME = NAMES[1]


def test_a_refused_package_is_left_out_and_counted(tmp_path: Path) -> None:
    models = Path(shutil.copytree(shipped_models(), tmp_path / "models"))
    (models / NAMES[0] / WEIGHTS).write_bytes(b"not what was trained")
    models, _ = load_models(TriageSettings(models=models, site=tmp_path))
    assert [model.name for model in models] == [NAMES[1]]
    assert REGISTRY.get_sample_value("vigie_triage_packages_refused") == 1


@pytest.mark.parametrize("damage", ["weights", "manifest"])
def test_of_a_damaged_package_a_series_says_that_it_was_refused(
    tmp_path: Path, damage: str
) -> None:
    shutil.copytree(shipped_models(), tmp_path / "models")
    name = WEIGHTS if damage == "weights" else MANIFEST
    (tmp_path / "models" / NAME / name).write_bytes(b"damaged \xff")
    settings = TriageSettings(models=tmp_path / "models", site=tmp_path)
    refused = refused_packages(settings, [NAMES[0]])
    assert len(refused) == 1
    head = series("1.1").model_copy(update={"body_part": "HEAD"})
    assert refused[0](head) is None
    knee = head.model_copy(update={"modality": "DX", "body_part": "KNEE"})
    told = refused[0](knee)
    assert told is (Reason.OUTSIDE_MODALITY if damage == "weights" else None)
    assert refused_packages(settings, NAMES) == []


def test_triage_reads_it_and_the_finding_carries_it(tmp_path: Path) -> None:
    verdicts = []
    for threshold in (0.000001, 0.999999):
        (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = {threshold:f}\n")
        models, _ = load_models(TriageSettings(site=tmp_path))
        model = next(one for one in models if one.name == NAME)
        images = model.prepare(phantom_series(np.random.default_rng(11), "head_ct")[0])
        verdicts.append(model.judge(model.network(images), None))
        other = next(one for one in models if one.name != NAME)
        film = other.prepare(phantom_series(np.random.default_rng(11), "chest_film")[0])
        own = load_package(shipped_models() / other.name).manifest.output.image.threshold
        assert other.judge(other.network(film), None).findings[0].threshold == own
    assert [verdict.outcome for verdict in verdicts] == ["flagged", "not_flagged"]
    assert [verdict.findings[0].threshold for verdict in verdicts] == [0.000001, 0.999999]


def test_wrong_thresholds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f"[{NAME}]\nthreshold = 1.0\n")
    with pytest.raises(ValueError, match=r"models\.toml: head-ct-ich\.threshold"):
        load_models(TriageSettings(site=tmp_path))
