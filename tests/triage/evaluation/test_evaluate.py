"""`vigie evaluate` takes whatever it is given, says what was outside the intended use, and names
what it cannot read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation
from typer.testing import CliRunner

from triage.decoding.headers import Limits, read_header
from triage.evaluation.cases import series_facts
from triage.evaluation.evaluate import EvaluateError, Evaluation, Labelled, evaluate, read_labels
from triage.model_commands import app
from triage.packages.load import Package, load_package
from triage.settings import shipped_models
from triage.worker.constancy import reference_series

MakeCt = Callable[..., FileDataset]
HEAD, CHEST = (load_package(shipped_models() / name) for name in ("head-ct-ich", "chest-opacity"))


def save(dataset: FileDataset, file: Path) -> Path:
    dataset.save_as(file, enforce_file_format=True)
    return file


def head_slices(make_ct: MakeCt, seed: int = 12) -> list[FileDataset]:
    """The slices of one phantom, in HU."""
    made = []
    for number, frame in enumerate(reference_series(np.random.default_rng(seed), "head_ct")[0], 1):
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
    (frame,) = reference_series(np.random.default_rng(seed), "chest_film")[0]
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
        [Labelled(file, number % 2, f"p{number}", number + 2) for number, file in enumerate(files)],
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
        "1 of 5 cases are of another view",
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
        "3 of 5 cases are no axial slices for brain (scouts, other planes, bone kernels)",
        "1 of 5 cases are of another modality",
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


@pytest.mark.filterwarnings("ignore")
def test_the_age_is_the_stated_one_else_that_of_the_dates(make_ct: MakeCt, tmp_path: Path) -> None:
    for stated, born, years in (
        ("018M", "", 1.5),
        ("", "20200101", 3.0),
        ("", "", None),
        ("old", "2020", None),
    ):
        dataset = film(make_ct, age=stated)
        dataset.PatientBirthDate, dataset.StudyDate = born, "20230101"
        found = series_facts(read_header(save(dataset, tmp_path / "a.dcm"), Limits())).age_years
        assert found == (None if years is None else pytest.approx(years, abs=0.01))


def pictures(folder: Path, count: int) -> list[Labelled]:
    """Small pictures of every mode, shape and depth."""
    cases = []
    for number in range(count):
        rng = np.random.default_rng(number)
        shape = [(96, 128), (1, 1), (3, 400), (200, 20)][number % 4]
        noise = Image.fromarray(
            rng.integers(0, 255, (*shape, 4), np.uint8), "RGBA" if number % 3 else None
        )
        mode = ("RGBA", "LA", "L", "RGB", "P", "1")[number % 6]
        picture = noise.convert("RGB").convert("P") if mode == "P" else noise.convert(mode)
        if number % 7 == 0:
            picture = Image.fromarray(rng.integers(0, 4095, shape, np.uint16))
        picture.save(folder / f"{number}.png")
        cases.append(Labelled(folder / f"{number}.png", number % 2, f"p{number}"))
    return cases


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
    strict = HEAD.manifest.abstention.model_copy(update={"max_distance": 1e-6})
    unsure = replace(HEAD, manifest=HEAD.manifest.model_copy(update={"abstention": strict}))
    some, none = evaluate(HEAD, cases), evaluate(unsure, cases)
    assert none.abstained == none.document()["abstained"] == 6
    assert none.figures == some.figures


def labelled(folder: Path) -> list[str]:
    """The arguments that evaluate six films of noise."""
    lines = [
        "file,truth,patient_id",
        *(f"{case.file.name},{case.truth},{case.patient}" for case in pictures(folder, 6)),
    ]
    (folder / "labels.csv").write_text("\n".join(lines))
    return [
        "evaluate",
        "head-ct-ich",
        "--labels",
        str(folder / "labels.csv"),
        "--images",
        str(folder),
    ]


def test_a_threshold_is_measured_before_it_is_set(tmp_path: Path) -> None:
    words = labelled(tmp_path)
    found = [
        json.loads(CliRunner().invoke(app, [*words, "--json", "--threshold", t]).stdout)
        for t in ("0.000001", "0.999999")
    ]
    assert [(one["sensitivity"], one["specificity"]) for one in found] == [(1, 0), (0, 1)]
    assert [one["threshold"] for one in found] == [0.000001, 0.999999]
    assert found[0]["auroc"] == found[1]["auroc"]
    assert found[0]["sensitivity_ci95"] == [1, 1]


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n cut", b"\0" * 128 + b"DICM" + b"no dicom", b"GIF89a"]
)
def test_a_damaged_file_ends_it_with_one_line_that_names_file_and_line(
    content: bytes, tmp_path: Path
) -> None:
    words = labelled(tmp_path)
    (tmp_path / "3.png").write_bytes(content)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert done.stderr.startswith("line 5: 3.png: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_plot_that_cannot_be_drawn_is_refused_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*labelled(tmp_path), "--plot", str(tmp_path / "plot.bmp")])
    assert done.exit_code == 2
    assert "plot.bmp" in done.stderr


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    (tmp_path / "link.png").symlink_to(tmp_path.parent / tmp_path.name / "0.png")
    text = '\ufeff File ,Truth, patient_id ,note\r\n"0.png", 1 ,a,"two\r\nlines"\r\n\r\nlink.png,0,,\r\n1.png,2,b,\r\n'
    (tmp_path / "labels.csv").write_bytes(text.encode())
    with pytest.raises(EvaluateError, match="line 6"):
        read_labels(tmp_path / "labels.csv", tmp_path)
    (tmp_path / "labels.csv").write_bytes(text.replace(",2,", ",1,").encode())
    cases = read_labels(tmp_path / "labels.csv", tmp_path)
    assert [(case.file.name, case.truth, case.line) for case in cases] == [
        ("0.png", 1, 3),
        ("link.png", 0, 5),
        ("1.png", 1, 6),
    ]
    assert len({case.patient for case in cases}) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"file,truth\n",
        b"file;truth\n0.png;1\n",
        b"\xff\xfe",
        b"file,truth\n.,1\n",
        b"file,truth\n0\0.png,1\n",
    ],
)
def test_labels_that_are_none_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(EvaluateError, match=r"labels\.csv"):
        read_labels(tmp_path / "labels.csv", tmp_path)
