"""However a head was framed, turned or windowed, the network sees nearly the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from triage.decoding.frames import Frame
from triage.inputs.head import pose
from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec
from triage.phantoms.heads import head_ct

HEAD = InputSpec(kind="head_ct", channels=2, height=96, width=96)
Array = NDArray[np.float32]


def shown(hounsfield: NDArray[np.int16], low: float = -20.0, high: float = 100.0) -> Array:
    """The slice as a viewer shows it in a window."""
    return np.clip((hounsfield.astype(np.float32) - low) / (high - low), 0.0, 1.0)


@pytest.fixture(scope="module")
def head() -> NDArray[np.int16]:
    """A slice with a bleed on one side."""
    return head_ct(np.random.default_rng(5), "epidural", slices=1, size=256)[0]


def seen(image: Array) -> Array:
    return prepare([Frame(np.asarray(image, np.float32), "display")], HEAD)[0]


def coarse(plane: Array) -> Array:
    """The means of squares of 8 pixels: a pose is found to two or three pixels, not better."""
    return np.asarray(plane.reshape(12, 8, 12, 8).mean((1, 3)), np.float32)


def unlike(a: Array, b: Array) -> float:
    """Mean difference in units of what the network reads: brain is 0, bone 2.2."""
    return float(np.abs(coarse(a) - coarse(b)).mean())


def turned(image: Array, degrees: float) -> Array:
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR), np.float32)


@pytest.mark.parametrize("degrees", [-20, -9, 11])
def test_a_turned_head_comes_out_upright(head: NDArray[np.int16], degrees: float) -> None:
    straight, other = shown(head), turned(shown(head), degrees)
    assert abs(pose(other).turn - pose(straight).turn + degrees) < 6.0
    assert unlike(seen(straight)[0], seen(other)[0]) < 0.25


@pytest.mark.parametrize("border", [0.0, 0.5, 1.0])
def test_a_viewers_border_changes_little(head: NDArray[np.int16], border: float) -> None:
    framed = np.pad(shown(head), ((13, 40), (31, 5)), constant_values=border)
    assert unlike(seen(shown(head))[0], seen(framed)[0]) < 0.2


def test_a_head_that_fills_the_picture_is_the_same_head(head: NDArray[np.int16]) -> None:
    whole = shown(head)
    rows, columns = (np.flatnonzero((whole > 0.5).sum(axis) > 12) for axis in (1, 0))
    tight = whole[rows[0] - 2 : rows[-1] + 3, columns[0] - 2 : columns[-1] + 3]
    assert unlike(seen(whole)[0], seen(tight)[0]) < 0.2


def test_hounsfield_units_and_their_picture_are_the_same(head: NDArray[np.int16]) -> None:
    measured = prepare([Frame(head.astype(np.float32), "hu")], HEAD)[0]
    assert unlike(measured[0], seen(shown(head))[0]) < 0.2


def test_another_window_moves_neither_brain_nor_bone(head: NDArray[np.int16]) -> None:
    narrow, wide = seen(shown(head, 0.0, 80.0))[0], seen(shown(head, -60.0, 140.0))[0]
    for share in (0.5, 0.99):
        assert (
            abs(np.quantile(narrow[30:66, 30:66], share) - np.quantile(wide[30:66, 30:66], share))
            < 0.5
        )
    assert abs(narrow.max() - wide.max()) < 0.15


def test_the_second_plane_is_left_against_right(head: NDArray[np.int16]) -> None:
    across = seen(shown(head))[1]
    assert np.allclose(across, -across[:, ::-1], atol=1e-5)
    assert np.abs(across[20:76, 20:76]).max() > 0.5  # the bleed is on one side


def test_an_empty_picture_has_a_pose() -> None:
    assert np.isfinite(pose(np.zeros((64, 64), np.float32)).box).all()
