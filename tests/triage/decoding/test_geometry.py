"""However a head lies in the scanner, the network sees it as a reader does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from tests.triage.decoding.heads import WAYS, MakeCt, head, measured, read, slice_of
from triage.decoding.geometry import square_pixels
from triage.decoding.image_header import ImageHeader
from triage.decoding.stacks.slices import place_of


@pytest.mark.parametrize("lies", WAYS)
def test_however_the_patient_lies_the_frames_are_the_same(
    make_ct: MakeCt, tmp_path: Path, lies: str
) -> None:
    volume = head(4)
    (tmp_path / "a").mkdir()
    plain = read(
        [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(volume)], tmp_path / "a"
    )
    # Feet first the table moves the other way: the first slice is the highest.
    turned = read(
        [
            slice_of(make_ct, image, 5.0 * z, 9 - z, lies=lies)
            for z, image in reversed(list(enumerate(volume)))
        ],
        tmp_path,
    )
    assert [frame.position_mm for frame in turned.frames] == [0.0, 5.0, 10.0, 15.0]
    assert measured(turned) == measured(plain)
    for frame, other in zip(plain.frames, turned.frames, strict=True):
        assert np.array_equal(frame.pixels, other.pixels)
        assert frame.side_mm == other.side_mm == 2.0


def test_a_head_turned_a_little_is_left_to_the_pose(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = slice_of(make_ct, head(1)[0], 0.0, 1)
    turn = np.deg2rad(20)
    dataset.ImageOrientationPatient = [
        np.cos(turn),
        np.sin(turn),
        0,
        -np.sin(turn),
        np.cos(turn),
        0,
    ]
    (frame,) = read([dataset], tmp_path).frames
    assert np.array_equal(frame.pixels, head(1)[0].astype(np.float32) - 1024)


def test_pixels_that_are_no_squares_are_made_square(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = slice_of(make_ct, head(1)[0][::2], 0.0, 1)  # every other row: twice as high
    dataset.PixelSpacing = [4.0, 2.0]
    (frame,) = read([dataset], tmp_path).frames
    assert frame.pixels.shape == (48, 40)
    assert frame.side_mm == 2.0
    middle = frame.pixels[2:-2]
    wanted = head(1)[0].astype(np.float32)[2:-2] - 1024
    assert np.abs(middle - wanted).max() < 15  # linear between rows; centres lie half a row apart


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (0.0, 1.0), (-1.0, 1.0), (1.0, 90.0)])
def test_a_spacing_that_is_square_or_none_changes_nothing(
    make_ct: MakeCt, tmp_path: Path, spacing: tuple[float, float]
) -> None:
    dataset = slice_of(make_ct, head(1)[0], 0.0, 1)
    dataset.PixelSpacing = list(spacing)
    assert read([dataset], tmp_path).frames[0].pixels.shape == (48, 40)


def test_width_and_height_are_stretched_alike() -> None:
    image = np.random.default_rng(1).normal(size=(12, 20)).astype(np.float32)
    wide = square_pixels(image, (1.0, 2.0))
    assert wide.shape == (12, 40)
    assert np.array_equal(wide, square_pixels(image.T, (2.0, 1.0)).T)


@pytest.mark.parametrize("value", [[1, 0, 0, 1, 0, 0], [0] * 6, [float("nan")] * 6, [1, 0, 0]])
def test_an_orientation_that_is_none_gives_no_position(make_ct: MakeCt, value: list[float]) -> None:
    dataset: FileDataset = make_ct(8, 8)
    dataset.ImageOrientationPatient = value
    header = ImageHeader(Path("x"), dataset, 8, 8, 1, 1, 16, 16, "MONOCHROME2")
    assert place_of(header, 0, 0).position is None
