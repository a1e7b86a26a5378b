"""What lies in a series is read, left out by what it is, or counted as unreadable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from streams.errors import Reason
from tests.triage.decoding.files import film
from tests.triage.decoding.heads import MakeCt, stack, written
from triage.decoding.frames import Decoded
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.packages.load import load_package
from triage.settings import shipped_models

HEAD, CHEST = (
    load_package(shipped_models() / name).wanted for name in ("head-ct-ich", "chest-opacity")
)


def decoded(datasets: Sequence[FileDataset], folder: Path) -> Decoded:
    return read_series(Request(written(datasets, folder), HEAD), Limits())


def refused(datasets: Sequence[FileDataset], folder: Path) -> Reason:
    with pytest.raises(NotAnalysed) as error:
        decoded(datasets, folder)
    return error.value.reason


def counted(found: Decoded) -> tuple[int, int]:
    return found.read.read, found.read.there


def test_a_report_a_scout_and_a_screenshot_in_the_series_cost_it_nothing(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    plain = stack(make_ct)
    (tmp_path / "plain").mkdir()
    alone = decoded(plain, tmp_path / "plain")
    scout, shot, report = stack(make_ct, 3)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    shot.SOPClassUID = SecondaryCaptureImageStorage
    shot.ImageType, shot.Modality = ["DERIVED", "SECONDARY"], "OT"
    report.Modality, report.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.22"
    del report.PixelData, report.Rows, report.Columns, report.BitsAllocated
    found = decoded([scout, *plain, shot, report], tmp_path)
    assert counted(found) == counted(alone) == (8, 8)
    assert found.read.primary
    for one, other in zip(found.frames, alone.frames, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_captures_alone_are_read_and_are_not_primary(make_ct: MakeCt, tmp_path: Path) -> None:
    made = stack(make_ct, 2)
    for dataset in made:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    found = decoded(made, tmp_path)
    assert counted(found) == (2, 2)
    assert not found.read.primary
    made[0].ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found = decoded(made, tmp_path)
    assert counted(found) == (1, 2)  # where the other lies no primary slice was read
    assert found.read.primary


def test_files_that_are_cut_off_are_counted(make_ct: MakeCt, tmp_path: Path) -> None:
    paths = written(stack(make_ct, 24), tmp_path)
    for path in map(Path, paths[1:]):
        path.write_bytes(path.read_bytes()[:400])
    found = read_series(Request(paths, HEAD), Limits())
    assert counted(found) == (1, 24)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("left", range(132, 1200, 97))
def test_a_slice_cut_anywhere_in_its_header_is_counted_and_not_taken_for_something_else(
    make_ct: MakeCt, tmp_path: Path, left: int
) -> None:
    paths = written(stack(make_ct), tmp_path)
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:left])
    assert counted(read_series(Request(paths, HEAD), Limits())) == (7, 8)


def test_unreadable_slices_are_the_reason_where_the_rest_is_of_another_plane(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    paths = written(stack(make_ct), tmp_path)
    coronal = stack(make_ct, 1)
    coronal[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    for path in paths[1:]:
        Path(path).write_bytes(b"noise")
    coronal[0].save_as(paths[0], enforce_file_format=True)
    with pytest.raises(NotAnalysed, match="undecodable_pixels"):
        read_series(Request(paths, HEAD), Limits())


def test_pixels_that_are_cut_off_are_counted(make_ct: MakeCt, tmp_path: Path) -> None:
    paths = written(stack(make_ct), tmp_path)
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:-200])
    found = read_series(Request(paths, HEAD), Limits())
    assert counted(found) == (7, 8)
    assert (found.read.largest_gap_mm, found.read.spacing_mm) == (10.0, 5.0)


@pytest.mark.parametrize(
    ("name", "vr", "value"),
    [
        ("RescaleIntercept", "LO", "-1024,0"),
        ("RescaleIntercept", "DS", ""),
        ("RescaleIntercept", "DS", None),
        ("RescaleSlope", "DS", "0"),
        ("RescaleSlope", "DS", ""),
        ("RescaleSlope", "LO", "NaN"),
        ("RescaleSlope", "DS", None),
    ],
)
def test_a_rescale_that_cannot_be_read_is_no_picture(
    make_ct: MakeCt, tmp_path: Path, name: str, vr: str, value: str | None
) -> None:
    made = stack(make_ct)
    for dataset in made:
        del dataset[name]
        if value is not None:
            dataset.add_new(name, vr, value)
    assert refused(made, tmp_path) is Reason.NO_HOUNSFIELD
    assert counted(decoded([*stack(make_ct)[:-1], made[-1]], tmp_path)) == (7, 8)


def test_each_slice_has_its_own_rescale(make_ct: MakeCt, tmp_path: Path) -> None:
    plain, odd = stack(make_ct), stack(make_ct)
    for dataset in odd[::2]:
        doubled = np.frombuffer(dataset.PixelData, np.int16) * np.int16(2)
        dataset.RescaleSlope, dataset.PixelData = "0.5", doubled.tobytes()
    (tmp_path / "odd").mkdir()
    for one, other in zip(
        decoded(plain, tmp_path).frames, decoded(odd, tmp_path / "odd").frames, strict=True
    ):
        assert np.array_equal(one.pixels, other.pixels)


def test_of_two_kernels_the_soft_one_is_read(make_ct: MakeCt, tmp_path: Path) -> None:
    soft, sharp = stack(make_ct), stack(make_ct)
    for dataset in sharp:
        dataset.ConvolutionKernel = "Hr59"
    assert counted(decoded(soft + sharp, tmp_path)) == (8, 8)
    assert refused(sharp, tmp_path) is Reason.OUTSIDE_IMAGE


def test_slices_with_contrast_are_outside_the_intended_use(make_ct: MakeCt, tmp_path: Path) -> None:
    made = stack(make_ct)
    for dataset in made:
        dataset.ContrastBolusAgent = "Iomeron"
    assert refused(made, tmp_path) is Reason.OUTSIDE_CONTRAST


def test_of_a_frontal_and_a_lateral_film_the_frontal_one_is_read(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    films = [film(make_ct(number=number)) for number in range(3)]
    for dataset, view in zip(films, ("AP", "LL", "AP"), strict=True):
        dataset.BodyPartExamined, dataset.PatientAge, dataset.ViewPosition = "CHEST", "003Y", view
    films[2].PresentationIntentType = "FOR PROCESSING"
    found = read_series(Request(written(films, tmp_path), CHEST), Limits())
    assert [frame.file for frame in found.frames] == [0]
    assert counted(found) == (1, 1)
    with pytest.raises(NotAnalysed, match="view"):
        read_series(Request(written(films[1:2], tmp_path), CHEST), Limits())


def test_the_digest_is_of_the_bytes_that_were_read(make_ct: MakeCt, tmp_path: Path) -> None:
    paths = written(stack(make_ct, 2), tmp_path)
    each = [hashlib.sha256(Path(path).read_bytes()).digest() for path in paths]
    found = read_series(Request(paths, HEAD), Limits())
    assert found.read.digest == hashlib.sha256(b"".join(each)).hexdigest()


def test_a_localizer_among_the_frames_of_an_enhanced_image_is_left_out(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    enhanced = make_ct(8, 8)
    enhanced.BodyPartExamined, enhanced.NumberOfFrames = "HEAD", 4
    enhanced.PixelData = np.repeat(np.arange(4, dtype=np.int16), 64).tobytes()
    enhanced.PerFrameFunctionalGroupsSequence = groups = []
    for z, kind in enumerate(("LOCALIZER", "VOLUME", "VOLUME", "VOLUME")):
        group = Dataset()
        group.CTImageFrameTypeSequence, group.PlanePositionSequence = [Dataset()], [Dataset()]
        group.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, -5.0 * z]
        groups.append(group)
    del enhanced.ImagePositionPatient
    enhanced.PerFrameFunctionalGroupsSequence = groups
    found = decoded([enhanced], tmp_path)
    assert [float(frame.pixels[0, 0]) for frame in found.frames] == [-1021.0, -1022.0, -1023.0]
    assert counted(found) == (3, 3)


def test_derived_slices_beside_primary_ones_are_read_too_and_say_nothing_of_these(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    datasets = stack(make_ct)
    for dataset in datasets[5:]:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    found = decoded(datasets, tmp_path)
    assert [frame.stack for frame in found.frames] == [0] * 5 + [1] * 3
    assert (found.read.beside, found.read.primary) == (1, True)
    assert counted(found) == (5, 8)


def test_a_derived_copy_of_the_same_slices_takes_nothing_from_them(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    copies = stack(make_ct)
    for dataset in copies:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    found = decoded(stack(make_ct) + copies, tmp_path)
    assert [frame.stack for frame in found.frames] == [0] * 8 + [1] * 8
    assert counted(found) == (8, 8)


def test_derived_slices_that_cannot_be_read_are_missed(make_ct: MakeCt, tmp_path: Path) -> None:
    copies = stack(make_ct, 2)
    for dataset in copies:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.PixelData = dataset.PixelData[:100]
    found = decoded(stack(make_ct) + copies, tmp_path)
    assert found.read.beside is None
    assert counted(found) == (8, 10)
