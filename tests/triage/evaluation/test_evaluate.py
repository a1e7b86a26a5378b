"""`vigie evaluate` takes whatever it is given, and says what was outside the intended use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from tests.triage.evaluation.pictures import labelled, pictures
from triage.evaluation.evaluate import Evaluation, evaluate
from triage.evaluation.labels import EvaluateError, Labelled, read_labels
from triage.packages.load import Package, load_package
from triage.phantoms.series import phantom_series
from triage.settings import shipped_models

MakeCt = Callable[..., FileDataset]
HEAD, CHEST = (load_package(shipped_models() / name) for name in ("head-ct-ich", "chest-opacity"))


def save(dataset: FileDataset, file: Path) -> Path:
    dataset.save_as(file, enforce_file_format=True)
    return file


def head_slices(make_ct: MakeCt, seed: int = 12) -> list[FileDataset]:
    """The slices of one phantom, in HU."""
    made = []
    for number, frame in enumerate(phantom_series(np.random.default_rng(seed), "head_ct")[0], 1):
        rows, columns = frame.pixels.shape
        dataset = make_ct(rows, columns, z=5.0 * number, number=number)
        dataset.PixelData = (frame.pixels + 1024).astype(np.int16).tobytes()
        dataset.BodyPartExamined, dataset.PatientAge = "HEAD", "070Y"
        made.append(dataset)
    return made


def film(
    make_ct: MakeCt,
    *,
    seed: int = 12,
    photometric: str = "MONOCHROME2",
    age: str = "003Y",
    view: str = "PA",
) -> FileDataset:
    """A chest phantom as DX, 12 bits."""
    (frame,) = phantom_series(np.random.default_rng(seed), "chest_film")[0]
    stored = np.round(frame.pixels * 4095).astype(np.uint16)
    dataset = make_ct(*stored.shape)
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "RescaleSlope",
        "RescaleIntercept",
        "WindowCenter",
        "WindowWidth",
    ):
        delattr(dataset, name)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation
    )
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientAge = (
        "DX",
        "CHEST",
        view,
        age,
    )
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.PhotometricInterpretation = photometric
    dataset.PixelData = (4095 - stored if photometric == "MONOCHROME1" else stored).tobytes()
    return dataset


def run(package: Package, *files: Path) -> Evaluation:
    return evaluate(
        package,
        [
            Labelled(file, number % 2, f"p{number}", f"line {number + 2}")
            for number, file in enumerate(files)
        ],
    )


def test_films_of_either_photometric_have_one_score_and_headers_are_believed(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    files = [
        save(film(make_ct), tmp_path / "m2.dcm"),
        save(film(make_ct, photometric="MONOCHROME1"), tmp_path / "m1.dcm"),
        save(film(make_ct, age="045Y"), tmp_path / "adult.dcm"),
        save(film(make_ct, view="LL"), tmp_path / "lateral.dcm"),
        save(head_slices(make_ct)[4], tmp_path / "ct.dcm"),
    ]
    done = run(CHEST, *files)
    assert done.probability[0] == pytest.approx(done.probability[1], abs=0.01)
    assert done.probability[2] == done.probability[3] == done.probability[0]
    assert done.figures.n == 5
    assert done.outside.split("; ") == [
        "1 of 5 cases are CT, shown in a soft-tissue window",
        "1 of 5 cases are of another modality",
        "1 of 5 cases are of another or no stated age",
        "1 of 5 cases are of another view or plane",
        "the package is meant for 1 to 5 years",
    ]
    assert run(CHEST, *files[:2]).outside == ""


def test_a_head_ct_of_any_plane_is_scored_and_said_to_be_so(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    axial, scout, coronal, bone = head_slices(make_ct)[2:6]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    coronal.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    bone.ConvolutionKernel = "H70s"
    files = [
        save(part, tmp_path / f"{n}.dcm") for n, part in enumerate((axial, scout, coronal, bone))
    ]
    done = run(HEAD, *files, save(film(make_ct), tmp_path / "film.dcm"))
    assert all(0 < p < 1 for p in done.probability)
    assert done.outside.split("; ") == [
        "1 of 5 cases are of another modality",
        "1 of 5 cases are of another view or plane",
        "2 of 5 cases are no plain images (scouts, maps, dose pages, sharp kernels)",
    ]


def test_a_folder_is_one_series_and_has_the_intercept_of_one(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    (tmp_path / "s1").mkdir()
    slices = [
        save(part, tmp_path / "s1" / f"{n}.dcm") for n, part in enumerate(head_slices(make_ct))
    ]
    (tmp_path / "labels.csv").write_text("file,truth\ns1,1\ns1/3.dcm,0\n")
    done = evaluate(HEAD, read_labels(tmp_path / "labels.csv", tmp_path))
    whole = evaluate(HEAD, [Labelled(tmp_path / "s1", 1, "p")])
    assert (done.outside, whole.probability[0]) == ("", done.probability[0])
    assert len(slices) == 8


def test_cases_keep_their_order_through_batches_and_none_is_refused(tmp_path: Path) -> None:
    cases = pictures(tmp_path, 70)
    whole = evaluate(HEAD, cases)
    assert (whole.figures.n, len(whole.probability)) == (70, 70)
    for number in (0, 63, 64, 69):
        assert evaluate(HEAD, [cases[number]]).probability[0] == pytest.approx(
            whole.probability[number], abs=0.02
        )
    assert "70 of 70 cases are pictures without a DICOM header" in whole.outside


def test_abstained_cases_are_counted_and_scored(tmp_path: Path) -> None:
    cases = pictures(tmp_path, 6)
    some = evaluate(HEAD, cases)  # noise, which it does not judge
    assert (some.abstained, some.document()["abstained_share"]) == (6, 1.0)
    assert (some.judged, some.document()["auroc_judged"]) == (None, None)
    rule = HEAD.manifest.abstention
    assert rule is not None
    careless = rule.model_copy(update={"max_foreign": 1 - 1e-15, "max_spread": 1e6})
    every = evaluate(
        replace(HEAD, manifest=HEAD.manifest.model_copy(update={"abstention": careless})), cases
    )
    assert every.abstained == 0
    assert every.figures == every.judged == some.figures


def test_a_file_that_is_no_image_is_told_by_name(tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(EvaluateError, match=r"0\.png"):
        evaluate(CHEST, read_labels(labels, tmp_path))
