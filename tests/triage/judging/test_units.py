"""What is read as Hounsfield units and cannot be, or shows no head, is never *not flagged*."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset

from streams.errors import Reason
from tests.triage.decoding.files import frames
from tests.triage.decoding.heads import MakeCt
from tests.triage.judging.whole_heads import read, sent
from triage.errors import NotAnalysed

pytestmark = pytest.mark.slow

Change = Callable[[FileDataset], None]


def _values(dataset: FileDataset) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """In HU + 1,024."""
    return np.frombuffer(dataset.PixelData, np.int16)


def _says(**said: object) -> Change:
    def change(dataset: FileDataset) -> None:
        for name, value in said.items():
            setattr(dataset, name, value)

    return change


def _signed_called_unsigned(dataset: FileDataset) -> None:
    dataset.PixelRepresentation, dataset.RescaleIntercept = 0, 0
    dataset.PixelData = (_values(dataset) - 1024).astype("<i2").tobytes()


def _lut_too(dataset: FileDataset) -> None:
    lut = Dataset()
    lut.add_new(0x00283002, "US", [4096, 0, 16])
    lut.add_new(0x00283006, "OW", np.arange(4096, dtype="<u2").tobytes())
    lut.ModalityLUTType = "HU"
    dataset.ModalityLUTSequence = [lut]


WRONG = {
    "slope below zero": _says(RescaleSlope=-1),
    "slope near zero": _says(RescaleSlope="0.0001"),
    "slope of 100": _says(RescaleSlope=100),
    "slope twice what it is": _says(RescaleSlope=2),
    "intercept absurd": _says(RescaleIntercept=50000),
    "no intercept where there is one": _says(RescaleIntercept=0),
    "intercept of another scanner": _says(RescaleIntercept=-8192),
    "signed called unsigned": _signed_called_unsigned,
    "too few bits": _says(BitsStored=10, HighBit=9),
    "bits at the wrong end": _says(BitsStored=12, HighBit=15, PixelRepresentation=0),
    "a modality LUT beside the rescale": _lut_too,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_cannot_be_hounsfield_units_is_never_calm(
    make_ct: MakeCt, tmp_path: Path, change: Change
) -> None:
    datasets = sent(make_ct)
    for dataset in datasets:
        change(dataset)
    try:
        reason = read(datasets, tmp_path)[1]
    except NotAnalysed as error:
        reason = error.reason
    assert reason is Reason.NO_HOUNSFIELD


def test_a_head_of_half_its_density_has_no_bone(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = sent(make_ct)
    for dataset in datasets:
        dataset.RescaleSlope = "0.5"
    assert read(datasets, tmp_path)[1] is Reason.INCOMPLETE


@pytest.mark.parametrize(
    "change",
    [
        _says(RescaleIntercept="-1024.0", RescaleType="HU"),
        _says(PixelPaddingValue=-2000),
        _says(BitsStored=12, HighBit=11, PixelRepresentation=0),
    ],
)
def test_the_ways_in_which_scanners_write_are_hounsfield_units(
    make_ct: MakeCt, tmp_path: Path, change: Change
) -> None:
    datasets = sent(make_ct)
    for dataset in datasets:
        change(dataset)
    assert read(datasets, tmp_path)[1] is None


def test_padding_that_covers_blood_hides_none(make_ct: MakeCt, tmp_path: Path) -> None:
    plain, padded = sent(make_ct)[14], sent(make_ct)[14]
    padded.PixelPaddingValue, padded.PixelPaddingRangeLimit = 0, 1120
    (seen,), (same,) = frames(plain, tmp_path), frames(padded, tmp_path)
    tissue = seen.pixels > -900
    assert np.array_equal(seen.pixels[tissue], same.pixels[tissue])
    assert (same.pixels[~tissue] <= -900).all()


@pytest.mark.parametrize("fill", [24, 1064, 3000], ids=["air", "tissue", "bone"])
def test_slices_of_one_value_are_no_head(make_ct: MakeCt, tmp_path: Path, fill: int) -> None:
    datasets = sent(make_ct)
    for dataset in [*datasets[:8], *datasets[18:]]:
        dataset.PixelData = np.full(64 * 64, fill, np.int16).tobytes()
    found, reason = read(datasets, tmp_path)
    assert found.extent_mm == 50.0
    assert reason is Reason.INCOMPLETE


def test_blank_slices_between_those_of_a_head_were_not_read(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    datasets = sent(make_ct)
    for dataset in datasets[1::2]:
        dataset.PixelData = np.full(64 * 64, 1064, np.int16).tobytes()
    found, reason = read(datasets, tmp_path)
    assert (found.read, found.there) == (15, 28)
    assert reason is Reason.INCOMPLETE


@pytest.mark.parametrize("wrong", [slice(12, 13), slice(10, 15)], ids=["one", "five"])
def test_slices_of_a_head_whose_intercept_got_lost_were_not_read(
    make_ct: MakeCt, tmp_path: Path, wrong: slice
) -> None:
    datasets = sent(make_ct)
    for dataset in datasets[wrong]:
        dataset.RescaleIntercept = 0
    found, reason = read(datasets, tmp_path)
    assert found.read == 28 - (wrong.stop - wrong.start)
    assert reason is Reason.INCOMPLETE


def test_air_above_a_head_takes_nothing_from_it(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = sent(make_ct)
    for dataset in datasets[25:]:
        dataset.PixelData = np.full(64 * 64, 24, np.int16).tobytes()
    found, reason = read(datasets, tmp_path)
    assert (found.read, found.extent_mm, reason) == (28, 125.0, None)
