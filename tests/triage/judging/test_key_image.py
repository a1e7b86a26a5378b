"""The picture of a flag: the slice in grey, and orange where the network saw something."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from triage.judging.key_image import SIDE, draw


def pixels(png: bytes) -> NDArray[np.int16]:
    with Image.open(BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert not picture.info
        return np.asarray(picture.convert("RGB"), np.int16)


def test_it_is_orange_where_the_map_is_high_and_grey_elsewhere() -> None:
    image = np.random.default_rng(0).normal(0, 1, (2, 160, 160)).astype(np.float32)
    where = np.full((20, 20), -4.0, np.float32)
    where[2:6, 12:16] = 5.0
    shown = pixels(draw(image, where))
    colour = shown[..., 0] - shown[..., 2]  # red without blue
    assert shown.shape == (SIDE, SIDE, 3)
    assert colour[40:88, 200:248].mean() > 60
    assert np.abs(colour[160:]).max() == 0


def test_of_a_network_without_a_map_it_is_the_slice_alone() -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, 64, 128)).astype(np.float32)
    shown = pixels(draw(image, None))
    assert shown.shape == (SIDE // 2, SIDE, 3)
    assert (shown[..., 0] == shown[..., 2]).all()


@pytest.mark.parametrize(("plane", "share"), [(0, 0.0), (3, 1.0)])
def test_of_a_volume_it_is_the_plane_where_the_map_is_highest(plane: int, share: float) -> None:
    image = np.zeros((1, 9, 32, 32), np.float32)
    image[0, round(share * 8), :16] = 1.0
    where = np.zeros((4, 2, 2), np.float32)
    where[plane, 1, 1] = 3.0
    shown = pixels(draw(image, where))
    assert shown[20, 20].mean() > shown[300, 20].mean()


@settings(max_examples=2 * settings.default.max_examples // 5, deadline=None)
@given(
    image=arrays.arrays(np.float32, (1, 16, 16), elements=st.floats(-1e4, 1e4, width=32)),
    where=arrays.arrays(np.float32, (2, 2), elements=st.floats(-1e4, 1e4, width=32)),
)
def test_any_image_and_map_make_a_picture(
    image: NDArray[np.float32], where: NDArray[np.float32]
) -> None:
    assert pixels(draw(image, where)).shape == (SIDE, SIDE, 3)
