"""What is left out of a series evenly, or by what it is, keeps it from *not flagged*."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from streams.errors import Reason
from tests.triage.decoding.heads import MakeCt
from tests.triage.judging.whole_heads import read, sent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("spacing", "slices", "thick"),
    [(5.0, 28, 5.0), (5.0, 28, None), (7.0, 20, 5.0), (0.625, 200, 0.625), (2.5, 56, 5.0)],
)
def test_a_head_as_scanners_send_it_is_whole(
    make_ct: MakeCt, tmp_path: Path, spacing: float, slices: int, thick: float | None
) -> None:
    assert read(sent(make_ct, spacing, slices, thick), tmp_path)[1] is None


@pytest.mark.parametrize(
    ("spacing", "slices", "thick"),
    [
        (10.0, 14, 5.0),
        (10.0, 14, None),
        (5.0, 28, 1.25),
        (50.0, 28, 50.0),
        (50.0, 3, 5.0),
        (140.0, 2, 140.0),
        (140.0, 1, 140.0),
        (5.0, 100, 5.0),
    ],
    ids=[
        "every second",
        "every second, thickness unsaid",
        "every fourth of thin ones",
        "a head of 1.4 m",
        "three",
        "two",
        "one, as thick as a head",
        "a body",
    ],
)
def test_an_even_choice_of_slices_is_no_whole_head(
    make_ct: MakeCt, tmp_path: Path, spacing: float, slices: int, thick: float | None
) -> None:
    assert read(sent(make_ct, spacing, slices, thick), tmp_path)[1] is Reason.INCOMPLETE


def _bone(dataset: FileDataset) -> None:
    dataset.ConvolutionKernel = "BONEPLUS"


def _described_bone(dataset: FileDataset) -> None:
    dataset.SeriesDescription = "HEAD BONE"


def _mip(dataset: FileDataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MIP"]


def _old(dataset: FileDataset) -> None:
    dataset.PatientAge = "120Y"


def _other(dataset: FileDataset) -> None:
    dataset.Modality = "OT"


@pytest.mark.parametrize("make", [_bone, _described_bone, _mip, _old, _other])
@pytest.mark.parametrize("which", [slice(22, 28), slice(1, 28, 2)], ids=["top six", "odd ones"])
def test_slices_that_are_left_out_by_what_they_are_are_missed(
    make_ct: MakeCt,
    tmp_path: Path,
    make: Callable[[FileDataset], None],
    which: slice,
) -> None:
    datasets = sent(make_ct)
    for dataset in datasets[which]:
        make(dataset)
    found, reason = read(datasets, tmp_path)
    assert found.there == 28
    assert found.read == 28 - len(datasets[which])
    assert reason is Reason.INCOMPLETE


def test_a_second_reconstruction_of_the_same_places_misses_nothing(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    bone = sent(make_ct)
    for dataset in bone:
        _bone(dataset)
    found, reason = read(sent(make_ct) + bone, tmp_path)
    assert (found.read, found.there, reason) == (28, 28, None)


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "PixelSpacing", "SliceThickness"])
def test_a_number_without_measure_in_one_header_costs_that_slice_alone(
    make_ct: MakeCt, tmp_path: Path, tag: str
) -> None:
    datasets = sent(make_ct)
    count = {"ImagePositionPatient": 3, "PixelSpacing": 2}.get(tag)
    setattr(datasets[9], tag, ["1e300"] * count if count else "1e300")
    found, _ = read(datasets, tmp_path)
    assert found.read >= 27
    assert found.there == 28
    assert found.extent_mm == 140.0
