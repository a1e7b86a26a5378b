"""A film that is stored turned or mirrored, and says so, comes out as a reader sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from streams.errors import Reason
from tests.triage.decoding.files import film, read_frames
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.judging.coverage import why_incomplete
from triage.packages.load import load_package
from triage.phantoms.films import chest_film
from triage.settings import shipped_models

MakeCt = Callable[..., FileDataset]
Stored = NDArray[np.uint16]
PACKAGE = load_package(shipped_models() / "chest-opacity")
CHEST = PACKAGE.wanted
UPRIGHT: Stored = np.arange(40 * 32, dtype=np.uint16).reshape(40, 32)
#: Patient Orientation, and how the pixels lie then.
WAYS: dict[str, Callable[[Stored], Stored]] = {
    r"L\F": lambda image: image,
    r"R\F": lambda image: image[:, ::-1],
    r"L\H": lambda image: image[::-1],
    r"R\H": lambda image: image[::-1, ::-1],
    r"F\L": lambda image: image.T,
    r"F\R": lambda image: image[:, ::-1].T,
    r"H\L": lambda image: image[::-1].T,
    r"HL\RF": lambda image: image[::-1, ::-1].T,
    "": lambda image: image,
}


def chest(make_ct: MakeCt, stored: Stored, orientation: str) -> FileDataset:
    """A child's frontal film, whose pixels run as `orientation` says."""
    dataset = film(make_ct(*stored.shape))
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    dataset.PatientOrientation = orientation
    dataset.BodyPartExamined, dataset.PatientAge, dataset.ViewPosition = "CHEST", "003Y", "PA"
    del dataset.ImageOrientationPatient, dataset.ImagePositionPatient
    return dataset


@pytest.mark.parametrize("orientation", WAYS)
def test_a_film_that_says_how_it_is_turned_is_turned_back(
    make_ct: MakeCt, tmp_path: Path, orientation: str
) -> None:
    for name, way, stored in (("here", r"L\F", UPRIGHT), ("there", orientation, None)):
        pixels = WAYS[orientation](UPRIGHT) if stored is None else stored
        chest(make_ct, pixels, way).save_as(tmp_path / name, enforce_file_format=True)
    (wanted,), (turned,) = (read_frames(tmp_path / name) for name in ("here", "there"))
    assert np.array_equal(turned.pixels, wanted.pixels)


def test_pixels_that_are_not_square_are_turned_with_their_film(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    dataset = chest(make_ct, UPRIGHT.T, r"F\L")
    dataset.PixelSpacing = [0.2, 0.4]  # between stored rows, between stored columns
    dataset.save_as(tmp_path / "film", enforce_file_format=True)
    (frame,) = read_frames(tmp_path / "film")
    assert frame.pixels.shape == (80, 32)


@pytest.mark.parametrize("orientation", [r"A\F", r"F\A", r"H\F", r"L\R", r"L\P", r"P\H"])
def test_a_film_of_another_plane_or_of_none_is_not_read_as_a_chest(
    make_ct: MakeCt, tmp_path: Path, orientation: str
) -> None:
    path = tmp_path / "film"
    chest(make_ct, UPRIGHT, orientation).save_as(path, enforce_file_format=True)
    with pytest.raises(NotAnalysed) as refused:
        read_series(Request((str(path),), CHEST), Limits())
    assert refused.value.reason is Reason.OUTSIDE_VIEW


@pytest.mark.parametrize("ground", [0, 4095], ids=["black", "white"])
def test_half_a_film_on_a_ground_of_one_value_has_the_shape_of_half_a_film(
    make_ct: MakeCt, tmp_path: Path, ground: int
) -> None:
    stored = chest_film(np.random.default_rng(2), opacity=False, size=128)
    half = np.where(np.arange(128) < 64, stored, ground).astype(np.uint16)
    for name, pixels, aspect in (("whole", stored, 1.0), ("half", half, 0.5)):
        chest(make_ct, pixels, r"L\F").save_as(tmp_path / name, enforce_file_format=True)
        found = read_series(Request((str(tmp_path / name),), CHEST), Limits()).read
        assert found.aspects == pytest.approx((aspect, aspect), abs=0.05)
        short = Reason.INCOMPLETE if name == "half" else None
        assert why_incomplete(PACKAGE.manifest.coverage, found, 1, None) is short
