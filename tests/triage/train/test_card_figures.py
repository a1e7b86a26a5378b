"""The figures of a card: by group, and of series in Hounsfield units through the jail."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triage.evaluation.card import card
from triage.packages.load import load_package
from triage.phantoms.heads import head_ct
from triage.settings import shipped_models
from triage.train.card_figures import UNSEEN, record_figures
from triage.train.recipes import HEAD

pytestmark = pytest.mark.slow
SLICES = 22
FIELDS = "file set modality urgent label patient_id age sex fold"
RECIPE = replace(HEAD, source="drawn")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn patients, in the brain's window: two bleed; and one of another fold."""
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for patient, kind in enumerate(("subdural", "epidural", None, None, None)):
        volume = head_ct(np.random.default_rng(patient), kind, SLICES, 192)
        for place, plane in enumerate(volume):
            shown = np.clip((plane.astype(float) + 20) / 120, 0, 1)
            name = f"p{patient}_s{place:02d}.png"
            Image.fromarray((shown * 255).astype(np.uint8)).save(folder / name)
            label = kind.capitalize() if kind else "no haemorrhage"
            fold = "1" if patient == 4 else "0"
            row = [name, "drawn", "CT", int(bool(kind)), label, f"p{patient}", 8 * patient + 5]
            rows.append([*row, "Male" if patient % 2 else "Female", fold])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS.split(), *rows])
    return folder


def test_a_package_is_measured_by_group_and_as_it_is_served(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "head-ct-ich"
    shutil.copytree(shipped_models() / "head-ct-ich", folder)
    record_figures(folder, RECIPE, images)
    package = load_package(folder)
    rows = {(one.group, one.shown, one.unit): one for one in package.manifest.results}
    assert {group for group, _, _ in rows} == {
        *("", "epidural", "subdural", "female", "male", "under 18 years", "18 to 59 years"),
        UNSEEN,  # stays: it was found when the package was trained
    }
    whole = rows["", "pictures", "image"]
    assert (whole.n, whole.patients) == (4 * SLICES, 4)
    assert whole.slope_ci95 is not None
    assert whole.ece_bound95 is not None
    one_kind = rows["epidural", "pictures", "image"]
    assert (one_kind.n, one_kind.positives) == (3 * SLICES, SLICES)
    assert (one_kind.auroc_ci95 is None, one_kind.ece) == (False, None)
    assert rows["male", "pictures", "image"].ece is not None
    served = rows["", "hounsfield", "series"]
    assert (served.n, served.positives, served.abstained) == (4, 2, 0)
    assert (served.sensitivity, served.auroc) == (1.0, 1.0)
    told = card(package)
    assert "drawn, as series in HU, through decoders and judgement | series | 4 |" in told
    assert "| drawn, epidural | image |" in told
    assert told.index("By group;") < told.index("| drawn, epidural")
